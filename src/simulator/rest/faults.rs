//! What goes wrong on the REST side. Who consults which: `route` those of any
//! request, `login` and `calls` their own.

use std::time::Duration;

use super::answer::Mishap;

/// One of the two documented ways to a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenForm {
    /// `/login/oauth/token`, form-encoded.
    OAuth,
    /// `/auth/sign_in`, JSON.
    SignIn,
}

/// The faults. `Default` has none.
#[derive(Debug, Clone, Default)]
pub struct RestFaults {
    /// `/calllogs` is not there (a release before 22.0.42).
    pub no_calllogs: bool,
    /// `/cdrs/{id}` is not there.
    pub no_cdr_details: bool,
    /// One form of login is not there, and its paths answer so: 404 or 405.
    pub no_token_form: Option<(TokenForm, u16)>,
    /// The query option `filter` is not looked at.
    pub ignore_filter: bool,
    /// The query option `orderby` is not looked at.
    pub ignore_orderby: bool,
    /// Every page has at most so many items, whatever `top` says.
    pub page_cap: Option<usize>,
    /// `skip=1` begins with the first item.
    pub one_based_skip: bool,
    /// Users see their own calls only, whatever their permissions.
    pub own_calls_only: bool,
    /// A call is shown only so long after its end.
    pub late: Duration,
    /// Every answer takes so long.
    pub slow: Duration,
    /// So many requests are answered 429, with this `Retry-After` in seconds.
    pub too_many: Option<(u32, u64)>,
    /// So many requests are answered 503.
    pub unavailable: u32,
    /// After so many more requests for calls every token is worthless, once.
    pub revoke_after: Option<u32>,
    /// So many logins are refused, with these words.
    pub refuse_logins: Option<(u32, String)>,
    /// Every login asks for a second factor.
    pub two_factor: bool,
    /// Every user has to change the password first.
    pub password_force_reset: bool,
    /// So many answers about calls are not JSON.
    pub not_json: u32,
    /// So many answers about calls never end.
    pub endless: u32,
    /// So many answers about calls end in a reset halfway.
    pub reset_in_body: u32,
}

impl RestFaults {
    /// `Retry-After`, if this request is one too many.
    pub fn take_too_many(&mut self) -> Option<u64> {
        let (left, after) = self.too_many.as_mut()?;
        *left = left.checked_sub(1)?;
        Some(*after)
    }

    /// Whether this request finds the PBX unavailable.
    pub fn take_unavailable(&mut self) -> bool {
        take(&mut self.unavailable)
    }

    /// Whether the tokens are worthless from this request on.
    pub fn take_revocation(&mut self) -> bool {
        let due = self.revoke_after == Some(0);
        self.revoke_after = self.revoke_after.and_then(|left| left.checked_sub(1));
        due
    }

    /// The words of a refusal, if this login is to be refused.
    pub fn take_login_refusal(&mut self) -> Option<String> {
        let (left, words) = self.refuse_logins.as_mut()?;
        *left = left.checked_sub(1)?;
        Some(words.clone())
    }

    /// What goes wrong with this answer about calls.
    pub fn take_mishap(&mut self) -> Option<Mishap> {
        let mishaps = [
            (&mut self.not_json, Mishap::NotJson),
            (&mut self.endless, Mishap::Endless),
            (&mut self.reset_in_body, Mishap::Reset),
        ];
        mishaps.into_iter().find_map(|(left, mishap)| take(left).then_some(mishap))
    }

    /// The status of a form of login that is not there.
    pub fn missing(&self, form: TokenForm) -> Option<u16> {
        self.no_token_form.filter(|(missing, _)| *missing == form).map(|(_, status)| status)
    }
}

fn take(left: &mut u32) -> bool {
    let due = *left > 0;
    *left = left.saturating_sub(1);
    due
}

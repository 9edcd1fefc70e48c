//! Flags for what goes wrong with the simulated PBX's REST side.

use std::time::Duration;

use super::{at_least_one, pair, seconds};
use crate::simulator::{RestFaults, TokenForm};

/// Seconds that a PBX which is asked too often wants to be left alone.
const RETRY_AFTER: u64 = 5;

/// What goes wrong with REST.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Faults of the REST side")]
pub struct RestArgs {
    /// /calllogs is not there
    #[arg(long)]
    rest_no_calllogs: bool,
    /// /cdrs/{id} is not there
    #[arg(long)]
    rest_no_details: bool,
    /// /login/oauth/token is not there: 404 or 405
    #[arg(long, value_name = "STATUS", num_args = 0..=1, default_missing_value = "404",
          value_parser = missing, conflicts_with = "rest_no_sign_in")]
    rest_no_oauth: Option<u16>,
    /// /auth/sign_in is not there: 404 or 405
    #[arg(long, value_name = "STATUS", num_args = 0..=1, default_missing_value = "404",
          value_parser = missing)]
    rest_no_sign_in: Option<u16>,
    /// Do not look at filter
    #[arg(long)]
    rest_ignore_filter: bool,
    /// Do not look at orderby
    #[arg(long)]
    rest_ignore_orderby: bool,
    /// Do not look at top: N items a page
    #[arg(long, value_name = "N", value_parser = at_least_one())]
    rest_page_cap: Option<u64>,
    /// skip=1 begins with the first item
    #[arg(long)]
    rest_one_based_skip: bool,
    /// Show every user but the administrator the user's own calls only
    #[arg(long)]
    rest_own_calls: bool,
    /// Show a call only so long after its end
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    rest_late: Option<Duration>,
    /// Let every answer take so long
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    rest_slow: Option<Duration>,
    /// Answer the first N requests 429, with Retry-After: 5 or the number
    #[arg(long, value_name = "N[:SECONDS]", value_parser = requests_and_seconds)]
    rest_too_many: Option<(u32, u64)>,
    /// Answer the first N requests 503
    #[arg(long, value_name = "N", default_value_t = 0)]
    rest_unavailable: u32,
    /// Make every token worthless after N requests for calls, once
    #[arg(long, value_name = "N")]
    rest_revoke_after: Option<u32>,
    /// Refuse the first N logins
    #[arg(long, value_name = "N")]
    rest_refuse_logins: Option<u32>,
    /// Ask every user for a second factor
    #[arg(long)]
    rest_two_factor: bool,
    /// Let every user change the password first
    #[arg(long)]
    rest_password_reset: bool,
    /// Let the first N answers about calls be no JSON
    #[arg(long, value_name = "N", default_value_t = 0)]
    rest_not_json: u32,
    /// Let the first N answers about calls never end
    #[arg(long, value_name = "N", default_value_t = 0)]
    rest_endless: u32,
    /// Reset the connection halfway through the first N answers about calls
    #[arg(long, value_name = "N", default_value_t = 0)]
    rest_reset: u32,
}

fn missing(text: &str) -> Result<u16, String> {
    match text {
        "404" => Ok(404),
        "405" => Ok(405),
        _ => Err("write 404 or 405".into()),
    }
}

fn requests_and_seconds(text: &str) -> Result<(u32, u64), String> {
    pair(text, RETRY_AFTER).ok_or_else(|| "write a number of requests, or N:SECONDS".into())
}

impl RestArgs {
    /// The faults, with these words for every refusal.
    pub fn faults(&self, words: &str) -> RestFaults {
        let oauth = self.rest_no_oauth.map(|status| (TokenForm::OAuth, status));
        let sign_in = self.rest_no_sign_in.map(|status| (TokenForm::SignIn, status));
        RestFaults {
            no_calllogs: self.rest_no_calllogs,
            no_cdr_details: self.rest_no_details,
            no_token_form: oauth.or(sign_in),
            ignore_filter: self.rest_ignore_filter,
            ignore_orderby: self.rest_ignore_orderby,
            page_cap: self.rest_page_cap.map(|items| items as usize),
            one_based_skip: self.rest_one_based_skip,
            own_calls_only: self.rest_own_calls,
            late: self.rest_late.unwrap_or_default(),
            slow: self.rest_slow.unwrap_or_default(),
            too_many: self.rest_too_many,
            unavailable: self.rest_unavailable,
            revoke_after: self.rest_revoke_after,
            refuse_logins: self.rest_refuse_logins.map(|times| (times, words.into())),
            two_factor: self.rest_two_factor,
            password_force_reset: self.rest_password_reset,
            not_json: self.rest_not_json,
            endless: self.rest_endless,
            reset_in_body: self.rest_reset,
        }
    }
}

//! `/calllogs`, `/cdrs` and `/cdrs/{id}`: which calls an account is shown.

use std::cmp::Reverse;
use std::sync::Arc;

use hyper::StatusCode;

use super::answer::Answer;
use super::items;
use super::login;
use super::query::{Order, Query};
use crate::simulator::call::Call;
use crate::simulator::hub::Hub;
use crate::simulator::object::Object;
use crate::simulator::options::{Account, Who};

/// Items of a page where the query names no number.
const DEFAULT_PAGE: usize = 100;

/// Which list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// With `session_id`.
    CallLogs,
    /// Without.
    Cdrs,
}

/// One page of a list.
pub fn list(hub: &Hub, account: &Account, query: &str, form: Form) -> Answer {
    let query = match Query::read(query) {
        Ok(query) => query,
        Err(words) => return Answer::bad_request(&words),
    };
    let faults = hub.faults().rest.clone();
    let mut calls = visible(hub, account);
    if !faults.ignore_filter {
        calls.retain(|call| query.fits(call));
    }
    let order = query.order.filter(|_| !faults.ignore_orderby);
    sort(&mut calls, order);
    let count = query.count.then_some(calls.len());
    let skip = query.skip.saturating_sub(usize::from(faults.one_based_skip));
    let page = faults.page_cap.unwrap_or(query.top.unwrap_or(DEFAULT_PAGE));
    let spelling = hub.spelling();
    let page = calls.iter().skip(skip).take(page);
    let items = page.map(|call| items::call(spelling, call, form == Form::CallLogs));
    Answer::about_calls(Object::new().put_some("count", count).put_all("items", items))
}

/// The targets of one call.
pub fn details(hub: &Hub, account: &Account, id: &str) -> Answer {
    let number = id.parse();
    let found = visible(hub, account).into_iter().find(|call| Ok(call.cdr_id) == number);
    let Some(call) = found else {
        return Answer::error(StatusCode::NOT_FOUND, "NOT_FOUND", "No such record.");
    };
    let items = items::targets(hub.spelling(), &call);
    let cost = items::cost(&call);
    Answer::about_calls(Object::new().put_all("items", items).put("cost", cost))
}

fn visible(hub: &Hub, account: &Account) -> Vec<Arc<Call>> {
    let late = hub.faults().rest.late;
    let mut calls = hub.archive().settled(late);
    if !login::sees_all(hub, account)
        && let Who::User { extension, .. } = &account.who
    {
        calls.retain(|call| call.concerns(extension));
    }
    calls
}

/// Without a wish the newest comes first, as on a PBX's own pages.
fn sort(calls: &mut [Arc<Call>], order: Option<Order>) {
    let key = |call: &Arc<Call>| (call.started, call.millis, call.session_id);
    match order {
        Some(Order::Rising) => calls.sort_by_key(key),
        Some(Order::Falling) | None => calls.sort_by_key(|call| Reverse(key(call))),
    }
}

//! Calls of a fake PBX, and all the ways in which it may answer questions for them.

use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::fake::{Reply, Request};

/// What a PBX makes of `orderby`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ordering {
    Obeyed,
    AlwaysRising,
    AlwaysFalling,
    /// By the end of the call, which looks right most of the time.
    ByEnd,
    /// As asked, but calls of the same time in another order at each question.
    Restless,
    /// None at all.
    Shuffled,
}

/// What it makes of `skip`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    FromZero,
    FromOne,
    Ignored,
}

/// What it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    All,
    OnPage,
    Nothing,
    /// All that there are, asked for or not.
    Everything,
}

/// What it makes of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ways {
    pub filter: bool,
    pub ordering: Ordering,
    pub skip: Skip,
    pub count: Count,
    /// Items on a page whatever `top` says.
    pub cap: Option<usize>,
    /// `top` is ignored: everything comes at once.
    pub top: bool,
}

impl Default for Ways {
    fn default() -> Self {
        Self {
            filter: true,
            ordering: Ordering::Obeyed,
            skip: Skip::FromZero,
            count: Count::All,
            cap: None,
            top: true,
        }
    }
}

/// One call: start and end in Unix milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct One {
    pub number: u64,
    pub start: i64,
    pub end: i64,
}

impl One {
    fn item(&self) -> Value {
        let moment = |ms| Timestamp::from_millisecond(ms).unwrap().to_string();
        json!({
            "id": format!("id-{}", self.number), "session_id": self.number.to_string(),
            "call_id": format!("{}@example.com", self.number),
            "started_at": moment(self.start), "ended_at": moment(self.end), "caller": "101",
        })
    }
}

/// A PBX with calls.
#[derive(Clone)]
pub struct Office {
    pub calls: Arc<Mutex<Vec<One>>>,
    pub ways: Ways,
}

impl Office {
    pub fn new(calls: Vec<One>, ways: Ways) -> Self {
        Self { calls: Arc::new(Mutex::new(calls)), ways }
    }

    /// Answers logins and lists.
    pub fn reply(&self, request: &Request) -> Reply {
        match &*request.line {
            "POST /api/login/oauth/token" => Reply::token("t", 3600),
            "GET /api/calllogs" => Reply::ok(self.list(request).to_string()),
            _ => Reply::status(404),
        }
    }

    fn list(&self, request: &Request) -> Value {
        let query = &request.query;
        let mut calls = self.calls.lock().unwrap().clone();
        if self.ways.filter {
            let parts: Vec<&str> = query["filter"].split('\'').collect();
            assert_eq!((parts[0], parts[2]), ("started_at ge ", " and started_at lt "));
            let ms = |text: &str| text.parse::<Timestamp>().unwrap().as_millisecond();
            let (from, to) = (ms(parts[1]), ms(parts[3]));
            calls.retain(|call| (from..to).contains(&call.start));
        }
        self.sort(&mut calls, &query["orderby"]);
        let all = calls.len();
        let skip: usize = query.get("skip").map_or(0, |skip| skip.parse().unwrap());
        let skip = match self.ways.skip {
            Skip::FromZero => skip,
            Skip::FromOne => skip.saturating_sub(1),
            Skip::Ignored => 0,
        };
        let top: usize = query["top"].parse().unwrap();
        let top = self.ways.cap.unwrap_or(if self.ways.top { top } else { usize::MAX });
        let items: Vec<Value> = calls.iter().skip(skip).take(top).map(One::item).collect();
        match self.ways.count {
            Count::All => json!({ "count": all, "items": items }),
            Count::OnPage => json!({ "count": items.len(), "items": items }),
            Count::Everything => {
                json!({ "count": self.calls.lock().unwrap().len(), "items": items })
            }
            Count::Nothing => json!({ "items": items }),
        }
    }

    fn sort(&self, calls: &mut [One], asked: &str) {
        let falls = match self.ways.ordering {
            Ordering::Obeyed => asked == "started_at desc",
            Ordering::Restless => {
                fastrand::shuffle(calls);
                return calls.sort_by_key(|call| call.start);
            }
            Ordering::AlwaysRising => false,
            Ordering::AlwaysFalling => true,
            Ordering::ByEnd => return calls.sort_by_key(|call| (call.end, call.number)),
            Ordering::Shuffled => {
                return calls.sort_by_key(|call| call.number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            }
        };
        calls.sort_by_key(|call| (call.start, call.number));
        if falls {
            calls.reverse();
        }
    }
}

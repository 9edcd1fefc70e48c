//! An answer of the REST side, and the ways in which its body can go wrong.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::header::{ALLOW, CONTENT_TYPE, DATE, RETRY_AFTER};
use hyper::http::HeaderValue;
use hyper::{Response, StatusCode};

use crate::simulator::http::http_date;
use crate::simulator::object::Object;

/// A body as hyper takes it.
pub type Body = BoxBody<Bytes, io::Error>;

/// How long the first half of a broken body has to reach the wire.
const HALF_TIME: Duration = Duration::from_millis(50);

/// One answer, not yet on the wire.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its JSON.
    pub json: String,
    /// Seconds after which to come again.
    pub retry_after: Option<u64>,
    /// The method that the path would take.
    pub allow: Option<&'static str>,
    /// It shows calls: some faults hit these alone.
    pub about_calls: bool,
}

/// What goes wrong with a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mishap {
    /// Something that is not JSON comes instead.
    NotJson,
    /// It never ends.
    Endless,
    /// The connection is reset in the middle of it.
    Reset,
}

impl Answer {
    /// 200 with an object.
    pub fn ok(object: Object) -> Self {
        Self {
            status: StatusCode::OK,
            json: object.finish(),
            retry_after: None,
            allow: None,
            about_calls: false,
        }
    }

    /// 200 with an object that shows calls.
    pub fn about_calls(object: Object) -> Self {
        Self { about_calls: true, ..Self::ok(object) }
    }

    /// An error in the documented form.
    pub fn error(status: StatusCode, code: &str, message: &str) -> Self {
        let error = Object::new().put("code", code).put("message", message);
        Self { status, ..Self::ok(Object::new().put_all("errors", [error])) }
    }

    /// 400 with these words.
    pub fn bad_request(message: &str) -> Self {
        Self::error(StatusCode::BAD_REQUEST, "BAD_REQUEST", message)
    }

    /// A refused login: 400, as documented.
    pub fn refused_login(message: &str) -> Self {
        Self::error(StatusCode::BAD_REQUEST, "UNAUTHORIZED", message)
    }

    /// 401: no token, or one that is good for nothing.
    pub fn unauthorized() -> Self {
        Self::error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "The access token is not valid.")
    }

    /// 404.
    pub fn not_found() -> Self {
        Self::error(StatusCode::NOT_FOUND, "NOT_FOUND", "No such path.")
    }

    /// 405, naming the method that is right.
    pub fn wrong_method(right: &'static str) -> Self {
        let message = "The method is not allowed.";
        let answer = Self::error(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", message);
        Self { allow: Some(right), ..answer }
    }

    /// Puts it into HTTP. `now_ms` is the PBX's clock; `reset` is pulled for a reset.
    pub fn into_response(
        self,
        now_ms: i64,
        mishap: Option<Mishap>,
        reset: Arc<AtomicBool>,
    ) -> Response<Body> {
        let headers = [
            (CONTENT_TYPE, Some("application/json".into())),
            (DATE, Some(http_date(now_ms))),
            (RETRY_AFTER, self.retry_after.map(|seconds| seconds.to_string())),
            (ALLOW, self.allow.map(String::from)),
        ];
        let mut response = Response::new(body(self.json, mishap, reset));
        *response.status_mut() = self.status;
        for (name, value) in headers {
            if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

fn body(json: String, mishap: Option<Mishap>, reset: Arc<AtomicBool>) -> Body {
    match mishap {
        None => whole(json),
        Some(Mishap::NotJson) => whole("<html><body>Bad Gateway</body></html>".into()),
        Some(Mishap::Endless) => endless(json),
        Some(Mishap::Reset) => half(json, reset),
    }
}

fn whole(text: String) -> Body {
    Full::from(text).map_err(|never: Infallible| match never {}).boxed()
}

/// The object's own bytes and then, within a string, ever more of the same.
fn endless(mut json: String) -> Body {
    json.truncate(json.len() - 1);
    json.push_str(",\"padding\":\"");
    let more = Bytes::from(vec![b'x'; 64 * 1024]);
    let frames = stream::unfold(Some(Bytes::from(json)), move |first| {
        let next = first.unwrap_or_else(|| more.clone());
        async move { Some((Ok(Frame::data(next)), None)) }
    });
    BodyExt::boxed(StreamBody::new(frames))
}

/// The first half; then, once that has had time to reach the wire, a reset.
fn half(json: String, reset: Arc<AtomicBool>) -> Body {
    let mut bytes = Bytes::from(json);
    bytes.truncate(bytes.len() / 2);
    let frames = stream::unfold(Some(bytes), move |first| {
        let reset = Arc::clone(&reset);
        async move {
            if let Some(first) = first {
                return Some((Ok(Frame::data(first)), None));
            }
            tokio::time::sleep(HALF_TIME).await;
            reset.store(true, Ordering::Release);
            Some((Err(io::ErrorKind::ConnectionReset.into()), None))
        }
    });
    BodyExt::boxed(StreamBody::new(frames))
}

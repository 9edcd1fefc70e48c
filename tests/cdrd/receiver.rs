//! A small HTTP receiver: keeps what it gets, answers as told.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// One request.
#[derive(Debug, Clone)]
pub struct Request {
    pub line: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The status that it was answered with; `None` if the connection was cut.
    pub answered: Option<u16>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The body, or the elements of the array that it is.
    pub fn events(&self) -> Vec<serde_json::Value> {
        match serde_json::from_slice(&self.body).expect("the body is JSON") {
            serde_json::Value::Array(events) => events,
            event => vec![event],
        }
    }
}

/// How to answer one request.
#[derive(Clone)]
pub enum Answer {
    Status(u16),
    /// With a header line.
    With(u16, String),
    /// The connection is cut after the request was read.
    Cut,
    /// No answer at all while the connection stands.
    Never,
    /// 200, but not before there is a permit.
    Held(Arc<Semaphore>),
    /// As the request deserves.
    Fitting(Arc<dyn Fn(&Request) -> Answer + Send + Sync>),
}

impl Answer {
    pub fn fitting(judge: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        Self::Fitting(Arc::new(judge))
    }
}

struct State {
    requests: Vec<Request>,
    /// Answers to the next requests, then `standing`.
    next: VecDeque<Answer>,
    standing: Answer,
    /// One request in so many gets one of these instead.
    failures: Option<(u32, Vec<Answer>)>,
    random: fastrand::Rng,
    connections: usize,
}

impl State {
    fn choose(&mut self) -> Answer {
        if let Some((one_in, failures)) = &self.failures
            && self.random.u32(0..*one_in) == 0
        {
            return failures[self.random.usize(0..failures.len())].clone();
        }
        self.next.pop_front().unwrap_or_else(|| self.standing.clone())
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} requests", self.requests.len())
    }
}

/// A receiver on a port of its own.
pub struct Receiver {
    pub address: SocketAddr,
    scheme: &'static str,
    state: Arc<Mutex<State>>,
    listener: Arc<TcpListener>,
    door: JoinHandle<()>,
}

impl Receiver {
    pub async fn start() -> Self {
        Self::on("127.0.0.1:0".parse().unwrap()).await
    }

    pub async fn on(address: SocketAddr) -> Self {
        Self::open(address, None).await
    }

    /// Over TLS, on the name `localhost`.
    pub async fn secure(tls: TlsAcceptor) -> Self {
        Self::open("127.0.0.1:0".parse().unwrap(), Some(tls)).await
    }

    async fn open(address: SocketAddr, tls: Option<TlsAcceptor>) -> Self {
        let listener = Arc::new(TcpListener::bind(address).await.unwrap());
        let address = listener.local_addr().unwrap();
        let standing = Answer::Status(200);
        let state = State {
            requests: Vec::new(),
            next: VecDeque::new(),
            standing,
            failures: None,
            random: fastrand::Rng::with_seed(20),
            connections: 0,
        };
        let state = Arc::new(Mutex::new(state));
        let scheme = if tls.is_some() { "https" } else { "http" };
        let (shared, open) = (Arc::clone(&state), Arc::clone(&listener));
        let door = tokio::spawn(async move {
            let mut guests = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = open.accept().await {
                let (state, tls) = (Arc::clone(&shared), tls.clone());
                state.lock().unwrap().connections += 1;
                guests.spawn(async move {
                    match tls {
                        None => serve(stream, state).await,
                        // Whoever cannot shake hands is no guest.
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, state).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, scheme, state, listener, door }
    }

    pub fn url(&self) -> String {
        match self.scheme {
            "https" => format!("https://localhost:{}/hooks/cdr", self.address.port()),
            _ => format!("http://{}/hooks/cdr", self.address),
        }
    }

    /// Answers all further requests like this.
    pub fn answer(&self, answer: Answer) {
        self.state.lock().unwrap().standing = answer;
    }

    /// Answers the next requests like this, before the standing answer.
    pub fn answer_next(&self, answers: impl IntoIterator<Item = Answer>) {
        self.state.lock().unwrap().next.extend(answers);
    }

    /// Answers one request in so many, at random, with one of these.
    pub fn fail_at_random(&self, one_in: u32, failures: Vec<Answer>) {
        self.state.lock().unwrap().failures = Some((one_in, failures));
    }

    pub fn requests(&self) -> Vec<Request> {
        self.state.lock().unwrap().requests.clone()
    }

    /// Looks at all requests so far, without a copy.
    pub fn look<T>(&self, at: impl FnOnce(&[Request]) -> T) -> T {
        at(&self.state.lock().unwrap().requests)
    }

    /// The requests that were answered with a 2xx.
    pub fn accepted(&self) -> Vec<Request> {
        let accepted = |r: &Request| r.answered.is_some_and(|status| (200..300).contains(&status));
        self.requests().into_iter().filter(accepted).collect()
    }

    /// TCP connections so far.
    pub fn connections(&self) -> usize {
        self.state.lock().unwrap().connections
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        cdrd::door::shut(&*self.listener);
        self.door.abort();
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, state: Arc<Mutex<State>>) {
    let mut stream = BufReader::new(stream);
    while let Some(mut request) = read(&mut stream).await {
        let (answer, number) = {
            let mut state = state.lock().unwrap();
            let mut answer = state.choose();
            while let Answer::Fitting(judge) = &answer {
                answer = judge(&request);
            }
            request.answered = match answer {
                Answer::Status(status) | Answer::With(status, _) => Some(status),
                _ => None,
            };
            state.requests.push(request);
            (answer, state.requests.len() - 1)
        };
        let (status, header) = match answer {
            Answer::Status(status) => (status, String::new()),
            Answer::With(status, header) => (status, format!("{header}\r\n")),
            Answer::Cut => return,
            Answer::Never => std::future::pending().await,
            Answer::Held(permits) => {
                permits.acquire().await.unwrap().forget();
                state.lock().unwrap().requests[number].answered = Some(200);
                (200, String::new())
            }
            Answer::Fitting(_) => unreachable!("was asked above"),
        };
        let text = format!("HTTP/1.1 {status} Told So\r\n{header}content-length: 2\r\n\r\nok");
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read(stream: &mut (impl AsyncBufReadExt + Unpin)) -> Option<Request> {
    let mut line = String::new();
    if stream.read_line(&mut line).await.ok()? == 0 {
        return None;
    }
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).await.ok()?;
        if !header.ends_with('\n') {
            // Cut off: half a request is none.
            return None;
        }
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Request { line: line.trim_end().to_owned(), headers, body, answered: None })
}

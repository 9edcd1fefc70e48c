//! Connections, proxies, TLS, client certificates, HTTP/2.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::{accepted, crm, crm_at, sent};
use crate::harness::{Bench, Running, until};
use crate::process::{Process, cdrd};
use crate::receiver::{Answer, Receiver};

#[tokio::test]
async fn requests_one_after_the_other_share_a_connection_even_after_refusals() {
    let (bench, receiver) = (Bench::new().await, Receiver::start().await);
    receiver.answer_next([500, 422, 503].map(Answer::Status));
    let daemon = Running::start(&bench.config(&crm(&receiver, "")));
    bench.subscribed().await;
    bench.push(20).await;
    accepted(&receiver, sent(&bench).len() - 1).await;
    daemon.stop().await.unwrap();
    assert!(receiver.requests().len() > 50);
    assert_eq!(receiver.connections(), 1);
}

/// Certificates as an administrator would have them: a CA, a server's, a client's.
pub struct Authority {
    ca: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub fn new(bench: &Bench) -> Self {
        Self::within(bench.directory.path())
    }

    /// Its own certificate goes to `ca.pem` in the folder.
    pub fn within(folder: &Path) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Not the name that all the others have: OpenSSL would take those for self-signed.
        params.distinguished_name.push(DnType::CommonName, "an authority");
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(folder.join("ca.pem"), ca.pem()).unwrap();
        Self { ca }
    }

    fn issue(&self, names: &[&str]) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = CertificateParams::new(names).unwrap();
        (params.signed_by(&key, &self.ca).unwrap(), key)
    }

    /// A server for `localhost` and `crm.example.com`; `wants` a client's certificate.
    pub fn server(&self, wants: bool, protocols: &[&str]) -> TlsAcceptor {
        let (cert, key) = self.issue(&["localhost", "crm.example.com"]);
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if wants {
            let mut roots = RootCertStore::empty();
            roots.add(self.ca.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let mut config = builder.with_single_cert(vec![cert.der().clone()], key).unwrap();
        config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }

    /// Writes a client's certificate and key.
    pub fn client(&self, certificate: &Path, key_file: &Path) {
        let (cert, key) = self.issue(&["cdrd"]);
        std::fs::write(certificate, cert.pem()).unwrap();
        std::fs::write(key_file, key.serialize_pem()).unwrap();
    }
}

#[tokio::test]
async fn a_private_ca_is_trusted_and_a_client_certificate_shown() {
    let bench = Bench::new().await;
    let authority = Authority::new(&bench);
    let receiver = Receiver::secure(authority.server(true, &[])).await;
    let (cert, key) = (bench.path("client.pem"), bench.path("client-key.pem"));
    authority.client(&cert, &key);
    let ca = bench.path("ca.pem");
    let tls = format!("tls = {{ ca_file = {ca:?}, cert_file = {cert:?}, key_file = {key:?} }}");
    let daemon = Running::start(&bench.config(&crm(&receiver, &tls)));
    bench.subscribed().await;
    bench.push(2).await;
    accepted(&receiver, sent(&bench).len()).await;
    daemon.stop().await.unwrap();
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn what_is_wrong_with_certificates_is_told() {
    let bench = Bench::new().await;
    let authority = Authority::new(&bench);
    let receiver = Receiver::secure(authority.server(true, &[])).await;
    let (cert, key) = (bench.path("client.pem"), bench.path("client-key.pem"));
    authority.client(&cert, &key);
    let ca = bench.path("ca.pem");
    let told = async |tls: String| {
        let config = bench.path("config.toml");
        std::fs::write(&config, bench.config_text(&crm(&receiver, &tls))).unwrap();
        let arguments = ["check", "--connect", "-c", config.to_str().unwrap()];
        let outcome = Process::run(&mut cdrd(arguments), "").await;
        assert_ne!(outcome.code(), 0, "{tls}");
        format!("{}{}", outcome.stdout, outcome.stderr)
    };
    let unknown = told(String::new()).await;
    assert!(unknown.contains("signed by nobody that this system trusts"), "{unknown}");
    let silent = told(format!("tls = {{ ca_file = {ca:?} }}")).await;
    // The receiver says why only after the handshake, and then closes: what is heard first
    // is chance. What to do is told either way.
    let why = ["CertificateRequired", "ended the connection as soon as it stood"];
    assert!(why.iter().any(|why| silent.contains(why)), "{silent}");
    assert!(silent.contains("tls.cert_file"), "{silent}");
    std::fs::write(&key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let other = told(format!("tls = {{ cert_file = {cert:?}, key_file = {key:?} }}")).await;
    assert!(other.contains("the key is not the certificate's"), "{other}");
}

/// An HTTP/2 receiver: bodies, and how many connections there were.
struct Http2 {
    address: SocketAddr,
    bodies: Arc<Mutex<Vec<Vec<u8>>>>,
    connections: Arc<Mutex<usize>>,
    /// The most requests that were open at the same time.
    most: Arc<Mutex<usize>>,
}

impl Http2 {
    async fn start(tls: TlsAcceptor) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (bodies, connections, most) = <(Arc<_>, Arc<_>, Arc<_>)>::default();
        let made = Self { address, bodies, connections, most };
        let (bodies, connections, most) =
            (Arc::clone(&made.bodies), Arc::clone(&made.connections), Arc::clone(&made.most));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, bodies, most) = (tls.clone(), Arc::clone(&bodies), Arc::clone(&most));
                *connections.lock().unwrap() += 1;
                tokio::spawn(async move {
                    let stream = tls.accept(stream).await.unwrap();
                    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    let open = Arc::new(Mutex::new(0));
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        let now = {
                            let mut open = open.lock().unwrap();
                            *open += 1;
                            *open
                        };
                        let mut most = most.lock().unwrap();
                        *most = now.max(*most);
                        tokio::spawn(answer(
                            request,
                            respond,
                            Arc::clone(&bodies),
                            Arc::clone(&open),
                        ));
                    }
                });
            }
        });
        made
    }

    fn bodies(&self) -> Vec<Vec<u8>> {
        self.bodies.lock().unwrap().clone()
    }
}

async fn answer(
    request: http::Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<bytes::Bytes>,
    bodies: Arc<Mutex<Vec<Vec<u8>>>>,
    open: Arc<Mutex<usize>>,
) {
    let (_, mut stream) = request.into_parts();
    let mut body = Vec::new();
    while let Some(Ok(data)) = stream.data().await {
        stream.flow_control().release_capacity(data.len()).unwrap();
        body.extend_from_slice(&data);
    }
    bodies.lock().unwrap().push(body);
    *open.lock().unwrap() -= 1;
    respond.send_response(http::Response::new(()), true).unwrap();
}

#[tokio::test]
async fn over_tls_http2_is_spoken_with_many_requests_on_one_connection() {
    let bench = Bench::new().await;
    let receiver = Http2::start(Authority::new(&bench).server(false, &["h2", "http/1.1"])).await;
    let url = format!("https://localhost:{}/hooks", receiver.address.port());
    let more = format!("in_flight = 16\ntls = {{ ca_file = {:?} }}", bench.path("ca.pem"));
    let daemon = Running::start(&bench.config(&crm_at(&url, &more)));
    bench.subscribed().await;
    bench.push(50).await;
    let mut events = sent(&bench);
    until("everything is there", async || receiver.bodies().len() >= events.len()).await;
    daemon.stop().await.unwrap();
    let mut bodies = receiver.bodies();
    bodies.sort();
    events.sort();
    assert!(bodies == events, "each event once");
    assert_eq!(*receiver.connections.lock().unwrap(), 1);
    let most = *receiver.most.lock().unwrap();
    assert!((2..=16).contains(&most), "{most} at once");
}

/// A proxy that takes CONNECT to anywhere and goes to `to`; the lines that asked it.
async fn tunnel(to: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let told = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut guest, _)) = listener.accept().await {
            let told = Arc::clone(&told);
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(guest.read_u8().await.unwrap());
                }
                told.lock().unwrap().push(String::from_utf8(head).unwrap());
                guest.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await.unwrap();
                let mut there = TcpStream::connect(to).await.unwrap();
                // Ends with either side.
                let _ = copy_bidirectional(&mut guest, &mut there).await;
            });
        }
    });
    (address, asked)
}

const PROXIES: [&str; 8] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
];

/// The real program with these proxies and no others.
fn with_proxies(bench: &Bench, sink: &str, proxies: &[(&str, &str)]) -> Process {
    let config = bench.path("config.toml");
    std::fs::write(&config, bench.config_text(sink)).unwrap();
    let mut command = cdrd(["run", "-c", config.to_str().unwrap()]);
    for name in PROXIES {
        command.env_remove(name);
    }
    Process::start(command.envs(proxies.iter().copied()))
}

#[tokio::test]
async fn http_goes_through_the_proxy_of_the_environment() {
    let (bench, proxy) = (Bench::new().await, Receiver::start().await);
    let via = format!("http://u:p@{}", proxy.address);
    let sink = crm_at("http://crm.example.com/hooks/cdr?a=b", "");
    let program = with_proxies(&bench, &sink, &[("HTTP_PROXY", &via)]);
    bench.subscribed().await;
    bench.push(1).await;
    accepted(&proxy, sent(&bench).len()).await;
    let request = &proxy.requests()[0];
    assert_eq!(request.line, "POST http://crm.example.com/hooks/cdr?a=b HTTP/1.1");
    assert_eq!(request.header("proxy-authorization"), Some("Basic dTpw"));
    drop(program);
}

#[tokio::test]
async fn https_goes_through_a_tunnel_of_the_proxy() {
    let bench = Bench::new().await;
    let receiver = Receiver::secure(Authority::new(&bench).server(false, &[])).await;
    let (proxy, asked) = tunnel(receiver.address).await;
    let via = format!("http://{proxy}");
    let tls = format!("tls = {{ ca_file = {:?} }}", bench.path("ca.pem"));
    let sink = crm_at("https://crm.example.com/hooks/cdr", &tls);
    let program =
        with_proxies(&bench, &sink, &[("https_proxy", &via), ("HTTP_PROXY", "http://127.0.0.1:1")]);
    bench.subscribed().await;
    bench.push(1).await;
    accepted(&receiver, sent(&bench).len()).await;
    let asked = asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 1);
    assert!(asked[0].starts_with("CONNECT crm.example.com:443 HTTP/1.1\r\n"), "{asked:?}");
    drop(program);
}

#[tokio::test]
async fn what_is_on_this_machine_or_in_no_proxy_is_reached_directly() {
    let (bench, receiver) = (Bench::new().await, Receiver::start().await);
    let proxies = [("HTTP_PROXY", "http://127.0.0.1:1"), ("ALL_PROXY", "http://127.0.0.1:1")];
    let program = with_proxies(&bench, &crm(&receiver, ""), &proxies);
    bench.subscribed().await;
    bench.push(1).await;
    accepted(&receiver, sent(&bench).len()).await;
    drop(program);

    // Nobody is there; but it is not the proxy that says so.
    let (bench, proxy) = (Bench::new().await, Receiver::start().await);
    let via = format!("http://{}", proxy.address);
    let sink = crm_at("http://crm.invalid/", "");
    let mut program =
        with_proxies(&bench, &sink, &[("HTTP_PROXY", &via), ("NO_PROXY", "crm.invalid")]);
    bench.subscribed().await;
    bench.push(1).await;
    program.logs("cannot connect").await;
    assert!(proxy.requests().is_empty());
}

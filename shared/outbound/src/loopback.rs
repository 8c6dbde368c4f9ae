//! Tests the client against TLS servers on loopback, each with one behavior of real receivers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::{Client, ClientOptions, RESPONSE_BYTES_MAX, Response, SecretUrl, SendError, UrlProblem};

const TIMEOUT: Duration = Duration::from_secs(5);
const SECRET: &str = "hunter2";

/// A certificate authority, and a server with a certificate that it issued.
struct Authority {
    root_pem: String,
    acceptor: TlsAcceptor,
}

fn authority(host: &str, change: impl FnOnce(&mut CertificateParams)) -> Authority {
    let mut root = CertificateParams::new(Vec::new()).unwrap();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root_key = KeyPair::generate().unwrap();
    let root_pem = root.self_signed(&root_key).unwrap().pem();

    let mut leaf = CertificateParams::new(vec![host.to_owned()]).unwrap();
    change(&mut leaf);
    let leaf_key = KeyPair::generate().unwrap();
    let certificate = leaf.signed_by(&leaf_key, &Issuer::new(root, root_key)).unwrap();

    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(leaf_key.serialize_der().into()))
        .unwrap();
    Authority { root_pem, acceptor: TlsAcceptor::from(Arc::new(config)) }
}

/// What a receiver does after it has read a request.
#[derive(Clone)]
enum Behavior {
    /// Sends this text and keeps the connection open.
    Answer(String),
    /// Sends this text, then sends nothing more and keeps the connection open.
    AnswerAndStall(String),
    /// Sends headers, then a body that never ends.
    EndlessBody,
    /// Sends nothing and keeps the connection open.
    NoResponse,
    /// Closes the connection without a response.
    Close,
}

struct Receiver {
    port: u16,
    root_pem: String,
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<String>>>,
    /// Bytes of an endless body written before the client closed the connection.
    endless_bytes_written: Arc<AtomicUsize>,
}

impl Receiver {
    async fn start(authority: Authority, manner: Behavior) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Self {
            port: listener.local_addr().unwrap().port(),
            root_pem: authority.root_pem,
            connections: Arc::default(),
            requests: Arc::default(),
            endless_bytes_written: Arc::default(),
        };
        let (connections, requests) = (receiver.connections.clone(), receiver.requests.clone());
        let poured = receiver.endless_bytes_written.clone();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let (acceptor, manner) = (authority.acceptor.clone(), manner.clone());
                let (requests, poured) = (requests.clone(), poured.clone());
                tokio::spawn(async move {
                    if let Ok(mut stream) = acceptor.accept(tcp).await {
                        while let Some(request) = read_request(&mut stream).await {
                            requests.lock().unwrap().push(request);
                            if respond(&mut stream, &manner, &poured).await.is_none() {
                                break;
                            }
                        }
                    }
                });
            }
        });
        receiver
    }

    async fn with_behavior(manner: Behavior) -> Self {
        Self::start(authority("127.0.0.1", |_| {}), manner).await
    }

    fn url(&self) -> SecretUrl {
        SecretUrl::parse(&format!("https://127.0.0.1:{}/{SECRET}?sig={SECRET}", self.port)).unwrap()
    }

    fn options(&self) -> ClientOptions {
        ClientOptions::parse(&format!("127.0.0.1:{}", self.port), &self.root_pem).unwrap()
    }

    async fn post(&self) -> Result<Response, SendError> {
        post(&Client::new(&self.options()).unwrap(), &self.url()).await
    }
}

async fn post(client: &Client, url: &SecretUrl) -> Result<Response, SendError> {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", "application/json".parse().unwrap());
    let sent = client.post(url, headers, b"{\"a\":1}".to_vec(), TIMEOUT, Timestamp::UNIX_EPOCH).await;
    if let Err(error) = &sent {
        for text in [error.to_string(), format!("{error:?}")] {
            assert!(!text.contains(SECRET) && !text.contains(url.host()) && !text.contains(url.expose()), "{text}");
        }
    }
    sent
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return Some(text);
            }
        }
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => bytes.extend_from_slice(&chunk[..read]),
        }
    }
}

async fn respond(stream: &mut (impl AsyncWrite + Unpin), manner: &Behavior, poured: &AtomicUsize) -> Option<()> {
    match manner {
        Behavior::Answer(text) => {
            stream.write_all(text.as_bytes()).await.ok()?;
            stream.flush().await.ok()
        }
        Behavior::AnswerAndStall(text) => {
            stream.write_all(text.as_bytes()).await.ok()?;
            stream.flush().await.ok()?;
            std::future::pending().await
        }
        Behavior::EndlessBody => {
            stream.write_all(b"HTTP/1.1 500 No\r\ntransfer-encoding: chunked\r\n\r\n").await.ok()?;
            let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
            loop {
                stream.write_all(chunk.as_bytes()).await.ok()?;
                poured.fetch_add(0x1000, Ordering::SeqCst);
            }
        }
        Behavior::NoResponse => std::future::pending().await,
        Behavior::Close => {
            stream.shutdown().await.ok()?;
            None
        }
    }
}

fn answer(status: &str, headers: &str, body: &str) -> Behavior {
    Behavior::Answer(format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len()))
}

#[tokio::test]
async fn a_post_arrives_complete_with_its_user_agent() {
    let receiver = Receiver::with_behavior(answer("200 OK", "", "ok")).await;
    let response = receiver.post().await.unwrap();
    assert_eq!((response.status, response.body.as_slice(), response.truncated), (StatusCode::OK, &b"ok"[..], false));
    assert!(response.elapsed > Duration::ZERO);
    let request = receiver.requests.lock().unwrap()[0].clone();
    assert!(request.starts_with(&format!("POST /{SECRET}?sig={SECRET} HTTP/1.1\r\n")), "{request}");
    assert!(request.contains(&format!("user-agent: Tocsin/{}\r\n", env!("CARGO_PKG_VERSION"))), "{request}");
    assert!(request.contains("content-type: application/json\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\n{\"a\":1}"), "{request}");
}

#[tokio::test]
async fn the_connection_is_reused_for_the_next_post() {
    let receiver = Receiver::with_behavior(answer("204 No Content", "", "")).await;
    let client = Client::new(&receiver.options()).unwrap();
    for _ in 0..3 {
        post(&client, &receiver.url()).await.unwrap();
    }
    assert_eq!(receiver.requests.lock().unwrap().len(), 3);
    assert_eq!(receiver.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_redirect_is_returned_and_not_followed() {
    for status in ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let receiver = Receiver::with_behavior(answer(status, "location: /elsewhere\r\n", "")).await;
        let response = receiver.post().await.unwrap();
        assert!(response.status.is_redirection());
        assert_eq!(receiver.requests.lock().unwrap().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn a_body_is_read_only_up_to_the_limit() {
    let exact = Receiver::with_behavior(answer("500 No", "", &"x".repeat(RESPONSE_BYTES_MAX))).await;
    let response = exact.post().await.unwrap();
    assert_eq!((response.body.len(), response.truncated), (RESPONSE_BYTES_MAX, false));

    let larger = Receiver::with_behavior(answer("500 No", "", &"x".repeat(RESPONSE_BYTES_MAX + 1))).await;
    let response = larger.post().await.unwrap();
    assert_eq!((response.body.len(), response.truncated), (RESPONSE_BYTES_MAX, true));

    let endless = Receiver::with_behavior(Behavior::EndlessBody).await;
    let response = endless.post().await.unwrap();
    assert_eq!((response.status.as_u16(), response.body.len(), response.truncated), (500, RESPONSE_BYTES_MAX, true));
    assert!(response.elapsed < TIMEOUT);
    // The receiver's writes fail, so it stops once the socket buffers are full.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let poured = endless.endless_bytes_written.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(endless.endless_bytes_written.load(Ordering::SeqCst), poured);
}

#[tokio::test]
async fn a_receiver_that_never_responds_times_out() {
    let receiver = Receiver::with_behavior(Behavior::NoResponse).await;
    let client = Client::new(&receiver.options()).unwrap();
    let started = Instant::now();
    let timeout = Duration::from_millis(300);
    let sent = client.post(&receiver.url(), HeaderMap::new(), Vec::new(), timeout, Timestamp::UNIX_EPOCH).await;
    assert_eq!(sent.err(), Some(SendError::Timeout));
    assert!(started.elapsed() >= timeout && started.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn a_response_counts_even_if_its_body_never_ends() {
    let stalled = Behavior::AnswerAndStall("HTTP/1.1 202 Accepted\r\ncontent-length: 9\r\n\r\nhalf".to_owned());
    let receiver = Receiver::with_behavior(stalled).await;
    let client = Client::new(&receiver.options()).unwrap();
    let timeout = Duration::from_millis(400);
    let now = Timestamp::UNIX_EPOCH;
    let response = client.post(&receiver.url(), HeaderMap::new(), Vec::new(), timeout, now).await.unwrap();
    assert_eq!((response.status.as_u16(), response.body.as_slice(), response.truncated), (202, &b"half"[..], true));
}

#[tokio::test]
async fn a_connection_closed_without_a_response_is_a_reset() {
    assert_eq!(Receiver::with_behavior(Behavior::Close).await.post().await.err(), Some(SendError::Reset));
}

#[tokio::test]
async fn a_response_that_is_not_http_is_a_protocol_error() {
    let receiver = Receiver::with_behavior(Behavior::AnswerAndStall("SSH-2.0-OpenSSH_9.2\r\n".to_owned())).await;
    assert_eq!(receiver.post().await.err(), Some(SendError::Protocol));
}

#[tokio::test]
async fn a_port_without_a_listener_is_a_connect_error() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let client = Client::new(&ClientOptions::parse(&format!("127.0.0.1:{port}"), "").unwrap()).unwrap();
    let url = SecretUrl::parse(&format!("https://127.0.0.1:{port}/")).unwrap();
    assert_eq!(post(&client, &url).await.err(), Some(SendError::Connect));
}

#[tokio::test]
async fn a_port_without_tls_is_a_tls_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        std::future::pending::<()>().await;
    });
    let client = Client::new(&ClientOptions::parse(&format!("127.0.0.1:{port}"), "").unwrap()).unwrap();
    let url = SecretUrl::parse(&format!("https://127.0.0.1:{port}/")).unwrap();
    assert_eq!(post(&client, &url).await.err(), Some(SendError::Tls("the host does not speak TLS on this port")));
}

#[tokio::test]
async fn each_certificate_problem_has_its_own_message() {
    let trusted_by_nobody = Receiver::with_behavior(answer("200 OK", "", "")).await;
    let without_root = ClientOptions::parse(&format!("127.0.0.1:{}", trusted_by_nobody.port), "").unwrap();
    let sent = post(&Client::new(&without_root).unwrap(), &trusted_by_nobody.url()).await;
    let issuer = "the certificate's issuer is not trusted, or its intermediate certificate is missing";
    assert_eq!(sent.err(), Some(SendError::Tls(issuer)));
    assert!(trusted_by_nobody.requests.lock().unwrap().is_empty());

    let other_host = Receiver::start(authority("hooks.acme.io", |_| {}), answer("200 OK", "", "")).await;
    assert_eq!(other_host.post().await.err(), Some(SendError::Tls("the certificate is for another host name")));

    let expired = authority("127.0.0.1", |leaf| leaf.not_after = rcgen::date_time_ymd(2020, 1, 1));
    let expired = Receiver::start(expired, answer("200 OK", "", "")).await;
    assert_eq!(expired.post().await.err(), Some(SendError::Tls("the certificate has expired")));
}

#[tokio::test]
async fn the_extra_root_may_be_base64() {
    use base64::Engine;
    let receiver = Receiver::with_behavior(answer("200 OK", "", "")).await;
    let root = base64::engine::general_purpose::STANDARD.encode(&receiver.root_pem);
    let options = ClientOptions::parse(&format!("127.0.0.1:{}", receiver.port), &root).unwrap();
    assert!(post(&Client::new(&options).unwrap(), &receiver.url()).await.is_ok());
    assert!(ClientOptions::parse("", "no certificate").is_err());
    let no_certificate =
        ClientOptions::parse("127.0.0.1:1", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----").unwrap();
    assert!(Client::new(&no_certificate).is_err());
}

#[tokio::test]
async fn without_an_exception_the_same_receiver_is_forbidden() {
    let receiver = Receiver::with_behavior(answer("200 OK", "", "")).await;
    let loopback = SendError::Forbidden(UrlProblem::Forbidden("loopback (127.0.0.0/8)"));
    let client = Client::new(&ClientOptions::default()).unwrap();
    assert_eq!(post(&client, &receiver.url()).await.err(), Some(loopback.clone()));

    // An exception for another port, or for the same port of another host, does not apply.
    for elsewhere in ["127.0.0.1:1".to_owned(), format!("localhost:{}", receiver.port)] {
        let client = Client::new(&ClientOptions::parse(&elsewhere, &receiver.root_pem).unwrap()).unwrap();
        assert_eq!(post(&client, &receiver.url()).await.err(), Some(loopback.clone()), "{elsewhere}");
    }
    assert_eq!(receiver.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_name_that_resolves_to_loopback_is_rejected() {
    let url = SecretUrl::parse("https://localhost/x").unwrap();
    for options in [ClientOptions::default(), ClientOptions::parse("localhost:8443", "").unwrap()] {
        let client = Client::new(&options).unwrap();
        let refused = client.post(&url, HeaderMap::new(), Vec::new(), TIMEOUT, Timestamp::UNIX_EPOCH).await.err();
        assert!(
            matches!(refused, Some(SendError::Forbidden(UrlProblem::Forbidden(block))) if block.starts_with("loopback")),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn a_url_that_cannot_be_saved_cannot_be_called() {
    let client = Client::new(&ClientOptions::default()).unwrap();
    for (url, problem) in [
        ("http://hooks.acme.io/", UrlProblem::NotHttps),
        ("https://hooks.acme.io:8443/", UrlProblem::Port(8443)),
        ("https://u:p@hooks.acme.io/", UrlProblem::UserInfo),
        ("https://[fd00:ec2::254]/", UrlProblem::Forbidden("instance metadata service")),
    ] {
        let sent = post(&client, &SecretUrl::parse(url).unwrap()).await;
        assert_eq!(sent.err(), Some(SendError::Forbidden(problem)), "{url}");
    }
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_a_dns_error() {
    let client = Client::new(&ClientOptions::default()).unwrap();
    let sent = post(&client, &SecretUrl::parse("https://nowhere.invalid/").unwrap()).await;
    assert_eq!(sent.err(), Some(SendError::Dns));
}

#[tokio::test]
async fn retry_after_is_read_as_seconds_or_as_a_date() {
    for (header, expected) in [
        ("retry-after: 30\r\n", Some(30)),
        ("Retry-After: 0\r\n", Some(0)),
        ("retry-after: Thu, 01 Jan 1970 00:02:00 GMT\r\n", Some(120)),
        ("retry-after: soon\r\n", None),
        ("retry-after: -1\r\n", None),
        ("", None),
    ] {
        let receiver = Receiver::with_behavior(answer("429 Slow Down", header, "")).await;
        let response = receiver.post().await.unwrap();
        // A date counts from the response's arrival, slightly after the start of the call.
        let seconds = response.retry_after.map(|wait| wait.as_secs_f64().ceil());
        assert_eq!(seconds, expected.map(f64::from), "{header}");
    }
    let past = Receiver::with_behavior(answer("503 No", "retry-after: Wed, 31 Dec 1969 23:00:00 GMT\r\n", "")).await;
    assert_eq!(past.post().await.unwrap().retry_after, Some(Duration::ZERO));
}

#[tokio::test]
async fn calls_to_slow_receivers_run_concurrently() {
    let receiver = Receiver::with_behavior(Behavior::NoResponse).await;
    let client = Client::new(&receiver.options()).unwrap();
    let started = Instant::now();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let (client, url) = (client.clone(), receiver.url());
        calls.spawn(async move {
            let timeout = Duration::from_millis(500);
            client.post(&url, HeaderMap::new(), Vec::new(), timeout, Timestamp::UNIX_EPOCH).await.err()
        });
    }
    while let Some(sent) = calls.join_next().await {
        assert_eq!(sent.unwrap(), Some(SendError::Timeout));
    }
    assert!(started.elapsed() < Duration::from_secs(3));
}

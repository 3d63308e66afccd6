//! Connections that were open before the credentials changed.

use super::*;

const KEEP_ALIVE: &str = "GET / HTTP/1.1\r\nHost: x\r\n";
const TOKEN: &str = "Authorization: Bearer 0123456789abcdef\r\n";
/// The password `old` of the user `a`.
const OLD: &str = "Authorization: Basic YTpvbGQ=\r\n";

/// Sends a request, and reads the beginning of its reply.
async fn status(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.unwrap();
    String::from_utf8_lossy(&start[9..]).into_owned()
}

/// The rest of the bytes of a connection that the server closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut rest = Vec::new();
    // The server may reset a connection of which it has not read everything.
    let reading = async { stream.read_to_end(&mut rest).await.is_ok() };
    let _is_reset = tokio::time::timeout(Duration::from_secs(30), reading).await.unwrap();
    String::from_utf8_lossy(&rest).into_owned()
}

#[tokio::test]
async fn an_idle_connection_ends_when_the_rules_change() {
    let serving = start(LIMITS).await;
    let mut stream = serving.connect().await;
    assert_eq!(status(&mut stream, &format!("{KEEP_ALIVE}\r\n")).await, "200");
    serving.server.reconfigure(LIMITS, &[], Arc::new(restricted("old")));
    let _rest_of_the_reply = rest(&mut stream).await;
    serving.wait_until(|counts| counts.open == 0).await;
}

#[tokio::test]
async fn an_open_connection_never_gets_weaker_rules() {
    let serving = start_with(LIMITS, restricted("old")).await;
    let mut idle = serving.connect().await;
    let mut within_a_head = serving.connect().await;
    assert_eq!(status(&mut idle, &format!("{KEEP_ALIVE}\r\n")).await, "401");
    within_a_head.write_all(KEEP_ALIVE.as_bytes()).await.unwrap();
    serving.wait_until(|counts| counts.accepted == 2).await;
    serving.server.reconfigure(LIMITS, &[], Arc::new(Access::open()));
    // A connection that the server has closed by now takes no request.
    let _is_closed = idle.write_all(format!("{KEEP_ALIVE}\r\n").as_bytes()).await;
    let _is_closed = within_a_head.write_all(b"\r\n").await;
    for stream in [&mut idle, &mut within_a_head] {
        let rest = rest(stream).await;
        assert!(!rest.contains("HTTP/1.1 200"), "{rest}");
    }
    assert!(
        serving
            .ask("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .await
            .contains(" 200 ")
    );
}

#[tokio::test]
async fn a_request_that_is_received_during_a_change_needs_access_by_both_rules() {
    let serving = start_with(LIMITS, restricted("old")).await;
    let mut streams = Vec::new();
    for credentials in [OLD, TOKEN] {
        let mut stream = serving.connect().await;
        stream.write_all(format!("{KEEP_ALIVE}{credentials}").as_bytes()).await.unwrap();
        streams.push(stream);
    }
    serving.wait_until(|counts| counts.accepted == 2).await;
    serving.server.reconfigure(LIMITS, &[], Arc::new(restricted("new")));
    for stream in &mut streams {
        let _is_closed = stream.write_all(b"\r\n").await;
    }
    let [old, token] = &mut streams[..] else { unreachable!() };
    let (old, token) = (rest(old).await, rest(token).await);
    assert!(!old.contains("HTTP/1.1 200"), "{old}");
    // Unless the server closed the connection before it had read anything.
    assert!(token.is_empty() || token.starts_with("HTTP/1.1 200"), "{token}");
    assert!(!token.contains("keep-alive"), "{token}");
}

#[tokio::test]
async fn the_same_rules_end_no_connection() {
    let serving = start_with(LIMITS, restricted("old")).await;
    let mut stream = serving.connect().await;
    for _ in 0..3 {
        let request = format!("{KEEP_ALIVE}{TOKEN}\r\n");
        assert_eq!(status(&mut stream, &request).await, "200");
        // The rest of the reply: its last chunk.
        let mut reply = Vec::new();
        while !reply.ends_with(b"\r\n0\r\n\r\n") {
            reply.push(stream.read_u8().await.unwrap());
        }
        serving.server.reconfigure(LIMITS, &[], Arc::new(restricted("old")));
    }
}

#[tokio::test]
async fn a_long_reply_ends_when_its_client_loses_access() {
    let serving = start_with(LIMITS, restricted("old")).await;
    let endless =
        |credentials: &str| format!("GET /endless HTTP/1.1\r\nHost: x\r\n{credentials}\r\n");
    let (mut by_password, mut by_token) = (serving.connect().await, serving.connect().await);
    assert_eq!(status(&mut by_password, &endless(OLD)).await, "200");
    assert_eq!(status(&mut by_token, &endless(TOKEN)).await, "200");
    serving.server.reconfigure(LIMITS, &[], Arc::new(restricted("new")));
    assert!(rest(&mut by_password).await.ends_with("\r\n0\r\n\r\n"), "the reply is complete");
    serving.wait_until(|counts| counts.open == 1).await;
    let revoked = |counts: HttpServerCounts| {
        counts.denied_requests.into_iter().find(|(reason, _)| *reason == "revoked").unwrap().1
    };
    assert_eq!(revoked(serving.counts()), 1);
    let mut buffer = vec![0; 4 << 20];
    by_token.read_exact(&mut buffer).await.unwrap();
    let only_users = AccessConfig { tokens: Vec::new(), ..restriction("new") };
    let only_users = Access::load(&only_users).unwrap();
    serving.server.reconfigure(LIMITS, &[], Arc::new(only_users));
    rest(&mut by_token).await;
    serving.wait_until(|counts| counts.open == 0 && revoked(counts) == 2).await;
}

#[tokio::test]
async fn a_client_of_a_server_that_was_replaced_has_a_second_for_its_request() {
    let any = ListenAddresses::parse("127.0.0.1:0").unwrap();
    let sockets = TcpListeners::bind(&any).await.unwrap();
    let address = sockets.local_addresses().next().unwrap();
    let access = Arc::new(Access::open());
    let server = HttpServer::new("test".to_owned(), LIMITS, "hosts", &[], access);
    let (heir, next) = tokio::sync::oneshot::channel();
    let running = server.clone();
    let serving = tokio::spawn(async move { running.serve_until(sockets, Site, next).await });
    let mut idle = TcpStream::connect(address).await.unwrap();
    let mut asking = TcpStream::connect(address).await.unwrap();
    while server.stats().counts().open < 2 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let (sender, handed_over) = tokio::sync::oneshot::channel();
    heir.send(sender).unwrap();
    let _sockets = handed_over.await.unwrap();
    assert_eq!(status(&mut asking, &format!("{KEEP_ALIVE}\r\n")).await, "200");
    rest(&mut idle).await;
    rest(&mut asking).await;
    tokio::time::timeout(Duration::from_secs(30), serving).await.unwrap().unwrap();
}

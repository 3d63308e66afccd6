//! A server for tests that answers according to a script, also in ways that no server should.

use parking_lot::Mutex;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

pub use super::scripted_exchange::{RecordedRequest, ScriptedAnswer};
use super::scripted_http2;

/// Chooses the answer to a request by its number, counted from 0, and its content.
type Script = dyn Fn(usize, &RecordedRequest) -> ScriptedAnswer + Send + Sync;

/// Serves a connection with the answers of a function.
type Serve = fn(
    TcpStream,
    Option<Arc<ServerConfig>>,
    &mut dyn FnMut(RecordedRequest) -> ScriptedAnswer,
) -> io::Result<()>;

/// A server on a free port of the loopback interface. It runs until the process ends.
pub struct ScriptedServer {
    /// The address that the server listens on.
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<RecordedRequest>>>,
}

impl ScriptedServer {
    /// Starts a server without TLS.
    ///
    /// # Panics
    /// When there is no free port.
    #[must_use]
    pub fn start(
        script: impl Fn(usize, &RecordedRequest) -> ScriptedAnswer + Send + Sync + 'static,
    ) -> Self {
        Self::listen(None, connection, Arc::new(script))
    }

    /// Starts a server with TLS.
    ///
    /// # Panics
    /// When there is no free port.
    #[must_use]
    pub fn start_tls(
        tls: ServerConfig,
        script: impl Fn(usize, &RecordedRequest) -> ScriptedAnswer + Send + Sync + 'static,
    ) -> Self {
        Self::listen(Some(Arc::new(tls)), connection, Arc::new(script))
    }

    /// Starts a server that speaks HTTP/2, with or without TLS. The headers of a reply whose names begin
    /// with `grpc-` follow its body.
    ///
    /// # Panics
    /// When there is no free port.
    #[must_use]
    pub fn start_http2(
        tls: Option<ServerConfig>,
        script: impl Fn(usize, &RecordedRequest) -> ScriptedAnswer + Send + Sync + 'static,
    ) -> Self {
        Self::listen(tls.map(Arc::new), scripted_http2::serve, Arc::new(script))
    }

    /// The requests that the server has received so far.
    #[must_use]
    pub fn asked(&self) -> Vec<RecordedRequest> {
        self.asked.lock().clone()
    }

    fn listen(tls: Option<Arc<ServerConfig>>, serve: Serve, script: Arc<Script>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let all_asked = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (tls, script, asked) = (tls.clone(), Arc::clone(&script), Arc::clone(&asked));
                let mut answer = move |request| {
                    let mut asked = asked.lock();
                    asked.push(request);
                    script(asked.len() - 1, &asked[asked.len() - 1])
                };
                // The thread of a connection ends when its client closes it.
                thread::spawn(move || drop(serve(stream, tls, &mut answer)));
            }
        });
        Self { address, asked: all_asked }
    }
}

fn connection(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    answer: &mut dyn FnMut(RecordedRequest) -> ScriptedAnswer,
) -> io::Result<()> {
    match tls {
        None => serve(stream, answer),
        Some(tls) => {
            let session = ServerConnection::new(tls).map_err(io::Error::other)?;
            serve(StreamOwned::new(session, stream), answer)
        }
    }
}

fn serve(
    stream: impl Read + Write,
    answer: &mut dyn FnMut(RecordedRequest) -> ScriptedAnswer,
) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(asked) = read(&mut stream)? {
        match answer(asked) {
            ScriptedAnswer::Reply(status, headers, body) => {
                let mut reply =
                    format!("HTTP/1.1 {status} Reason\r\ncontent-length: {}\r\n", body.len());
                for (name, value) in headers {
                    reply.push_str(&format!("{name}: {value}\r\n"));
                }
                reply.push_str("\r\n");
                // In one write: a second small one would wait for an acknowledgement (Nagle).
                stream.get_mut().write_all(&[reply.as_bytes(), &body].concat())?;
                stream.get_mut().flush()?;
            }
            ScriptedAnswer::Bytes(bytes) => {
                stream.get_mut().write_all(&bytes)?;
                return stream.get_mut().flush();
            }
            // Returns when the client closes the connection, because it sends nothing else.
            ScriptedAnswer::Hang => drop(stream.read(&mut [0])?),
        }
    }
    Ok(())
}

/// Reads a request; `None` when the client has closed the connection.
fn read(stream: &mut impl BufRead) -> io::Result<Option<RecordedRequest>> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        stream.read_line(&mut header)?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut asked = RecordedRequest { line: line.trim_end().to_owned(), headers, body: Vec::new() };
    let length = asked.header("content-length").and_then(|length| length.parse().ok());
    asked.body.resize(length.unwrap_or(0), 0);
    stream.read_exact(&mut asked.body)?;
    Ok(Some(asked))
}

/// Time limit of a client in a test for a server that hangs.
pub const SHORT: Duration = Duration::from_millis(300);

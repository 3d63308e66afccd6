//! Clients: curl, a real one, and bytes over a socket.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use common::PATIENCE;

/// A reply: the status, the headers and the body. The status is 0 if there is none.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) text: String,
}

/// Requests a URL with curl.
pub(crate) fn curl(args: &[&str], url: &str) -> Reply {
    let mut curl = Command::new("curl");
    curl.args(["-s", "-S", "-i", "-m", "60", "--noproxy", "*"]).args(args).arg(url);
    let output = curl.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    reply(&String::from_utf8_lossy(&text))
}

/// Sends bytes to an address, and reads until the server closes the connection.
pub(crate) fn raw(address: SocketAddr, bytes: &[u8]) -> Reply {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut text = Vec::new();
    // A server that has not read everything may reset the connection after its reply.
    let _is_reset = stream.read_to_end(&mut text);
    reply(&String::from_utf8_lossy(&text))
}

/// A request with these header lines.
pub(crate) fn request(address: SocketAddr, path: &str, headers: &str) -> Reply {
    let head =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Connection: close\r\n\r\n");
    raw(address, head.as_bytes())
}

/// Requests a path at a Unix socket, without credentials.
pub(crate) fn at_socket(socket: &Path, method: &str, path: &str) -> Reply {
    let args = ["--unix-socket", socket.to_str().unwrap(), "-X", method];
    curl(&args, &format!("http://localhost{path}"))
}

fn reply(text: &str) -> Reply {
    let status = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    Reply { status: status.unwrap_or(0), text: text.to_owned() }
}

//! Advice for the operator about an error of a destination.
//!
//! The system and the client libraries say what failed. Most failures have one of a few causes, and
//! the reader of the log needs the next step.

/// Returns the next step for an error message; `None` if the message is unknown or states the step
/// itself.
#[must_use]
pub fn advice(words: &str) -> Option<&'static str> {
    /// Parts of the messages of the system and of libraries, the most specific first.
    const KNOWN: [(&[&str], &str); 13] = [
        (&["does not exist on the brokers"], "create the topic, or correct `kafka_topic`"),
        (
            &["may not write to the topic"],
            "allow the user in `librdkafka` to write to the topic, or correct `kafka_topic`",
        ),
        (
            &["no acknowledgement: the reply is a web page"],
            "correct the `url`, or the proxy or login page that answers there",
        ),
        (
            &["certificate verify failed", "invalid peer certificate"],
            "name the authority that signed the certificate (`tls: { ca_file }`, for Kafka \
             `ssl.ca.location`), and use a name that is in it",
        ),
        (
            &["failed to lookup address", "dns error", "Failed to resolve"],
            "this host does not know the name: correct the name or the resolver",
        ),
        (
            &["Connection refused"],
            "nothing listens there: start the server, or correct address and port",
        ),
        (&["Address already in use"], "another program listens there: stop it, or change the port"),
        (
            &["No route to host", "Network is unreachable"],
            "the host cannot be reached from here: correct the address or the network",
        ),
        (
            &["timed out", "no answer within"],
            "check that the host is up and that no firewall blocks the connection",
        ),
        (&["No space left on device", "Disk quota exceeded"], "free space on that disk"),
        (
            &["Permission denied", "Read-only file system"],
            "let tallyd's user write there (under systemd also `ReadWritePaths=`), or choose another \
             path",
        ),
        (
            &["No such file or directory", "Not a directory"],
            "create the folder, or correct the path",
        ),
        (&["Is a directory"], "name a file in this folder"),
    ];
    let known = KNOWN.iter().find(|(says, _)| says.iter().any(|says| words.contains(says)));
    known.map(|(_, advice)| *advice)
}

#[cfg(test)]
mod tests {
    use std::io;

    use rustix::io::Errno;

    use super::*;

    #[test]
    fn errors_of_the_system_have_advice() {
        for errno in [
            Errno::CONNREFUSED,
            Errno::ADDRINUSE,
            Errno::HOSTUNREACH,
            Errno::NETUNREACH,
            Errno::TIMEDOUT,
            Errno::NOSPC,
            Errno::DQUOT,
            Errno::ACCESS,
            Errno::ROFS,
            Errno::NOENT,
            Errno::NOTDIR,
            Errno::ISDIR,
        ] {
            let words = io::Error::from(errno).to_string();
            assert!(advice(&words).is_some(), "{words}");
        }
        assert_eq!(advice("the server says something of its own"), None);
    }

    #[test]
    fn an_invalid_certificate_is_reported_before_the_failed_connection() {
        let words = "connection refused: certificate verify failed: Connection refused";
        assert!(advice(words).unwrap().contains("ca_file"));
    }
}

//! Files of exporter-toolkit.

use std::fs;

use tempfile::TempDir;

use super::client::curl;
use super::{HASH, PASSWORD, check, folder, start};

/// A folder with a file of exporter-toolkit.
fn folder_with(web: &str) -> TempDir {
    let folder = folder();
    fs::write(folder.path().join("web.yml"), web).unwrap();
    folder
}

const WEB: &str = "web_config_file: DIR/web.yml";

#[test]
fn a_file_of_the_toolkit_protects_the_endpoint_as_it_does_an_exporter() {
    let folder = folder_with(&format!(
        "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n  \
         client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n  \
         client_allowed_sans:\n    - client.example\n  min_version: TLS13\n  \
         curve_preferences: [X25519]\nhttp_server_config:\n  http2: true\n  headers:\n    \
         Strict-Transport-Security: max-age=31536000\n    X-Frame-Options: deny\n    \
         Content-Security-Policy: default-src 'none'\nbasic_auth_users:\n  alice: {HASH}\n\
         rate_limit:\n  interval: 1h\n  burst: 4\n"
    ));
    let daemon = start(folder, WEB);
    let path = |name: &str| daemon.path(name).to_str().unwrap().to_owned();
    let (ca, cert, key) = (path("ca.pem"), path("client.pem"), path("client.key"));
    let user = format!("alice:{PASSWORD}");
    let client = ["--cacert", &ca, "--cert", &cert, "--key", &key];
    let url = format!("https://{}/", daemon.admin);
    assert_eq!(curl(&[&client[..2], &["-u", &user]].concat(), &url).status, 0, "no certificate");
    let tls12 = [&client[..], &["-u", &user, "--tls-max", "1.2"]].concat();
    assert_eq!(curl(&tls12, &url).status, 0, "an old version");
    let p256 = [&client[..], &["-u", &user, "--curves", "P-256"]].concat();
    assert_eq!(curl(&p256, &url).status, 0, "another curve");
    let (server, server_key) = (path("server.pem"), path("server.key"));
    let unnamed = ["--cacert", &ca, "--cert", &server, "--key", &server_key, "-u", &user];
    assert_eq!(curl(&unnamed, &url).status, 0, "a certificate with other names");
    assert_eq!(curl(&client, &url).status, 401, "no password");
    // The new version of the configuration has a full bucket.
    let change =
        curl(&[&client[..], &["-u", &user, "-X", "POST"]].concat(), &format!("{url}api/v1/reload"));
    assert_eq!(change.status, 200, "{change:?}");
    let page = curl(&[&client[..], &["-u", &user]].concat(), &url);
    assert_eq!(page.status, 200, "{page:?}");
    let head = page.text.split("\r\n\r\n").next().unwrap().to_ascii_lowercase();
    assert!(head.contains("strict-transport-security: max-age=31536000"), "{head}");
    assert!(head.contains("x-frame-options: deny"), "{head}");
    assert_eq!(head.matches("content-security-policy: ").count(), 1, "{head}");
    assert!(head.contains("script-src"), "the page keeps its own policy: {head}");
    let url = format!("{url}metrics");
    for _ in 0..3 {
        assert_eq!(curl(&[&client[..], &["-u", &user]].concat(), &url).status, 200);
    }
    let limited = curl(&[&client[..], &["-u", &user]].concat(), &url);
    assert!(limited.status == 429 && limited.text.contains("retry-after: "), "{limited:?}");
    let health = curl(&client, &format!("https://{}/healthz", daemon.admin));
    assert_eq!(health.status, 200, "{health:?}");
}

#[test]
fn an_unverified_certificate_is_no_identity() {
    for kind in ["RequireAnyClientCert", "RequestClientCert"] {
        let web = format!(
            "tls_server_config: {{ cert_file: server.pem, key_file: server.key, client_auth_type: {kind} }}"
        );
        let daemon = start(folder_with(&web), WEB);
        let path = |name: &str| daemon.path(name).to_str().unwrap().to_owned();
        let (ca, cert, key) = (path("ca.pem"), path("stranger.pem"), path("stranger.key"));
        let stranger = ["--cacert", &ca, "--cert", &cert, "--key", &key];
        let url = format!("https://{}/api/v1/reload", daemon.admin);
        assert_eq!(curl(&stranger, &url).status, 200, "{kind}");
        assert_eq!(curl(&[&stranger[..], &["-X", "POST"]].concat(), &url).status, 403, "{kind}");
        let without = if kind == "RequestClientCert" { 200 } else { 0 };
        assert_eq!(curl(&stranger[..2], &url).status, without, "{kind}");
    }
}

#[test]
fn a_certificate_may_be_in_the_file_itself() {
    let folder = folder();
    let indented = |name: &str| {
        let text = fs::read_to_string(folder.path().join(name)).unwrap();
        text.lines().map(|line| format!("    {line}\n")).collect::<String>()
    };
    let web = format!(
        "tls_server_config:\n  cert: |\n{}  key: |\n{}",
        indented("server.pem"),
        indented("server.key")
    );
    fs::write(folder.path().join("web.yml"), &web).unwrap();
    let daemon = start(folder, WEB);
    let ca = daemon.path("ca.pem");
    let url = format!("https://{}/healthz", daemon.admin);
    assert_eq!(curl(&["--cacert", ca.to_str().unwrap()], &url).status, 200);
}

#[test]
fn a_setting_without_its_effect_is_refused_at_its_key() {
    let tls = "cert_file: server.pem, key_file: server.key";
    for (web, words) in [
        (
            format!("tls_server_config: {{ {tls}, client_auth_type: RequireAndVerifyClientCert }}"),
            "`tls_server_config.client_auth_type`",
        ),
        (
            format!("tls_server_config: {{ {tls}, client_auth_type: VerifyClientCertIfGiven }}"),
            "`tls_server_config.client_auth_type`",
        ),
        (
            format!("tls_server_config: {{ {tls}, client_ca_file: ca.pem }}"),
            "`tls_server_config.client_ca_file`",
        ),
        (
            format!("tls_server_config: {{ {tls}, client_allowed_sans: [a] }}"),
            "`tls_server_config.client_allowed_sans`",
        ),
        (format!("tls_server_config: {{ {tls}, cert: x }}"), "`tls_server_config.cert`"),
        (
            format!("tls_server_config: {{ {tls}, min_version: TLS13, max_version: TLS12 }}"),
            "`tls_server_config.max_version`",
        ),
        (format!("tls_server_config: {{ {tls}, min_version: TLS10 }}"), "min_version"),
        (
            format!("tls_server_config: {{ {tls}, cipher_suites: [TLS_RSA_WITH_RC4_128_SHA] }}"),
            "cipher_suites",
        ),
        (
            format!("tls_server_config: {{ {tls}, curve_preferences: [CurveP521] }}"),
            "curve_preferences",
        ),
        ("tls_server_config: { key_file: server.key }".to_owned(), "`tls_server_config.cert_file`"),
        ("tls_server_config: { cert_file: server.pem }".to_owned(), "`tls_server_config.key_file`"),
        ("tls_server_config: { min_version: TLS13 }".to_owned(), "`tls_server_config.cert_file`"),
        ("tls_server_config: { cert_file: no.pem, key_file: server.key }".to_owned(), "no.pem"),
        (
            "tls_server_config: { cert_file: ca.pem, key_file: server.key }".to_owned(),
            "`tls_server_config.key_file`",
        ),
        ("http_server_config: { headers: { Server: x } }".to_owned(), "headers"),
        ("web: {}".to_owned(), "`web`"),
        ("basic_auth_users: [".to_owned(), "web.yml:1:"),
    ] {
        let (is_good, text) = check(&folder_with(&web), WEB, "");
        assert!(!is_good && text.contains("`admin.web_config_file` is unusable"), "{web}: {text}");
        assert!(text.contains(words) && text.contains("tallyd.yaml:"), "{web}: {text}");
    }
    let (is_good, text) = check(&folder(), "web_config_file: DIR/no.yml", "");
    assert!(!is_good && text.contains("no.yml"), "{text}");
    let (is_good, text) =
        check(&folder_with(""), &format!("{WEB}\nusers: {{ alice: {HASH} }}"), "");
    assert!(!is_good && text.contains("contradicts `users`"), "{text}");
}

#[test]
fn what_is_listed_is_offered() {
    let web = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n  max_version: TLS12\n  \
               cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256]\n";
    let daemon = start(folder_with(web), WEB);
    let ca = daemon.path("ca.pem").to_str().unwrap().to_owned();
    let url = format!("https://{}/healthz", daemon.admin);
    let status = |arguments: &[&str]| curl(&[&["--cacert", &ca], arguments].concat(), &url).status;
    assert_eq!(status(&["--ciphers", "ECDHE-ECDSA-AES256-GCM-SHA384"]), 200);
    assert_eq!(status(&["--ciphers", "ECDHE-ECDSA-CHACHA20-POLY1305"]), 200);
    assert_eq!(status(&["--ciphers", "ECDHE-ECDSA-AES128-GCM-SHA256"]), 0, "not listed");
    assert_eq!(status(&["--tlsv1.3"]), 0, "above max_version");
    let http2 = curl(&["--cacert", &ca, "--http2"], &url);
    assert!(http2.status == 200 && http2.text.starts_with("HTTP/1.1"), "{http2:?}");
}

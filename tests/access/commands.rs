//! The commands with each way to authenticate.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

use common::{Daemon, tallyd};

use super::{MUTUAL_TLS, PASSWORD, TLS, TOKEN, TOKENS, USERS, folder, start};

fn text_of(output: &Output) -> String {
    [output.stdout.as_slice(), &output.stderr].concat().escape_ascii().to_string()
}

/// A command that asks a daemon at its address for something.
fn ask(daemon: &Daemon, scheme: &str, args: &[&str]) -> Command {
    let mut command = tallyd();
    command.args(["values", "--json", "--admin", &format!("{scheme}://{}", daemon.admin)]);
    command.args(args).env_remove("TALLYD_TOKEN").env_remove("TALLYD_PASSWORD");
    command
}

#[test]
fn options_and_variables_authenticate_a_command() {
    let daemon = start(folder(), &format!("{USERS}\n{TOKENS}"));
    let file = |name: &str, text: &str| {
        std::fs::write(daemon.path(name), text).unwrap();
        daemon.path(name).to_str().unwrap().to_owned()
    };
    let (token, password) =
        (file("token", &format!("{TOKEN}\n")), file("password", &format!("{PASSWORD}\n")));
    let wrong = file("wrong", "0123456789abcdef0123");
    let is_good = |command: &mut Command| {
        let output = command.output().unwrap();
        (output.status.success(), text_of(&output))
    };
    let ask = |args: &[&str]| ask(&daemon, "http", args);
    for good in [
        ask(&["--token-file", &token]),
        ask(&["--token", TOKEN]),
        ask(&["--user", "alice", "--password-file", &password]),
        {
            let mut command = ask(&["--user", "alice"]);
            command.env("TALLYD_PASSWORD", PASSWORD);
            command
        },
        {
            let mut command = ask(&[]);
            command.env("TALLYD_TOKEN", TOKEN);
            command
        },
    ] {
        let mut good = good;
        assert!(is_good(&mut good).0, "{good:?}");
    }
    for (args, words) in [
        (vec![], "status 401"),
        (vec!["--token-file", &wrong], "use --token-file, or --user with --password-file"),
        (vec!["--user", "alice", "--password-file", &token], "status 401"),
        (vec!["--user", "alice"], "TALLYD_PASSWORD"),
        (vec!["--token-file", "/no/token"], "/no/token"),
    ] {
        let (is_good, text) = is_good(&mut ask(&args));
        assert!(!is_good && text.contains(words), "{args:?}: {text}");
    }
}

#[test]
fn every_command_reaches_an_endpoint_with_tls_and_a_token() {
    let daemon = start(folder(), &format!("{TLS}\n{TOKENS}"));
    let config = daemon.path("tallyd.yaml");
    // Port 0 in the file is no address to connect to.
    let text_of_file = std::fs::read_to_string(&config).unwrap();
    let other = daemon.path("other.yaml");
    let fixed = text_of_file.replace("127.0.0.1:0", &daemon.admin.to_string());
    std::fs::write(&other, fixed.replace("socket: ", "#socket: ")).unwrap();
    let other = other.to_str().unwrap();
    let run = |args: &[&str]| {
        let output = tallyd().args(args).output().unwrap();
        (output.status.success(), text_of(&output))
    };
    let address = daemon.udp.to_string();
    for args in [
        vec!["values", "--json", "--config", other],
        vec!["top", "--once", "--config", other],
        vec!["tap", "--count", "1", "--for", "1ms", "--config", other],
        vec!["send", "a", "counter", "--verify", "--to", &address, "--config", other],
        vec!["values", "*", "--delete", "--config", other],
        vec!["reload", "--config", other],
    ] {
        let (is_good, text) = run(&args);
        // No sample came within a millisecond, but the daemon was asked.
        let is_good = is_good || (args[0] == "tap" && !text.contains("401"));
        assert!(is_good, "{args:?}: {text}");
    }
    let ca = daemon.path("ca.pem").to_str().unwrap().to_owned();
    let url = format!("https://{}", daemon.admin);
    let named = ["values", "--json", "--admin", &url, "--ca-file", &ca];
    assert!(run(&[&named[..], &["--token", TOKEN]].concat()).0);
    let (is_good, text) = run(&[&named[..4], &["--token", TOKEN]].concat());
    assert!(!is_good && text.contains("UnknownIssuer"), "{text}");
    // The token of a configuration is for its own daemon only.
    let (is_good, text) = run(&[&named[..], &["--config", other]].concat());
    assert!(!is_good && text.contains("401"), "{text}");
}

#[test]
fn a_client_certificate_authenticates_a_command() {
    let daemon = start(folder(), MUTUAL_TLS);
    let path = |name: &str| daemon.path(name).to_str().unwrap().to_owned();
    let (ca, cert, key) = (path("ca.pem"), path("client.pem"), path("client.key"));
    let good = ask(&daemon, "https", &["--ca-file", &ca, "--cert", &cert, "--key", &key]).output();
    assert!(good.as_ref().unwrap().status.success(), "{}", text_of(&good.unwrap()));
    let without = ask(&daemon, "https", &["--ca-file", &ca]).output().unwrap();
    assert!(!without.status.success());
    let swapped =
        ask(&daemon, "https", &["--ca-file", &ca, "--cert", &key, "--key", &cert]).output();
    assert!(text_of(&swapped.unwrap()).contains("--cert"));
}

#[test]
fn a_command_without_access_names_the_options() {
    let daemon = start(folder(), USERS);
    let admin = format!("http://{}", daemon.admin);
    for args in [
        vec!["top", "--once", "--admin", &admin],
        vec!["tap", "--count", "1", "--admin", &admin],
        vec!["values", "--admin", &admin],
    ] {
        let output = tallyd().args(&args).output().unwrap();
        let text = text_of(&output);
        assert!(!output.status.success() && text.contains("--token-file"), "{args:?}: {text}");
    }
}

#[test]
fn a_command_sends_nothing_while_an_unreadable_file_decides_about_tls() {
    let endpoint = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    endpoint.set_nonblocking(true).unwrap();
    let folder = folder();
    let keys = format!("web_config_file: DIR/web.yml\n{TOKENS}");
    let text = super::config(&keys, "").replace("socket: ", "#socket: ");
    let address = endpoint.local_addr().unwrap().to_string();
    let path = common::write_config(&folder, &text.replace("127.0.0.1:0", &address));
    let config = path.to_str().unwrap();
    // It is missing, and then invalid.
    for content in [None, Some("basic_auth_users: [\n")] {
        if let Some(content) = content {
            std::fs::write(folder.path().join("web.yml"), content).unwrap();
        }
        for args in [
            &["values", "--config", config][..],
            &["top", "--once", "--config", config],
            &["tap", "--count", "1", "--config", config],
            &["send", "a", "counter", "--verify", "--to", "udp://127.0.0.1:9", "--config", config],
            &["reload", "--config", config],
            &["health", "--config", config],
        ] {
            let output = tallyd().args(args).output().unwrap();
            let text = text_of(&output);
            assert!(!output.status.success(), "{args:?}: {text}");
            assert!(text.contains("web.yml") && text.contains("--admin https://"), "{text}");
            assert!(text.contains("; correct the file, or run this as root or as"), "{text}");
            assert!(!text.contains(TOKEN), "{text}");
            let connection = endpoint.accept().map(|(_, peer)| peer);
            assert!(connection.is_err(), "{args:?} connects without TLS: {connection:?}");
        }
        // A signal needs no endpoint.
        let mut process = Command::new("sleep").arg("600").spawn().unwrap();
        let pid = process.id().to_string();
        let output = tallyd().args(["reload", "--config", config, "--pid", &pid]).output().unwrap();
        if !output.status.success() {
            process.kill().unwrap();
        }
        let signal = process.wait().unwrap().signal();
        assert_eq!(signal, Some(1), "{}", text_of(&output));
    }
}

#[test]
fn no_secret_is_sent_to_a_guessed_address() {
    let folder = folder();
    let broken = folder.path().join("broken.yaml");
    std::fs::write(&broken, "interval: [\n").unwrap();
    let disabled = folder.path().join("disabled.yaml");
    std::fs::write(&disabled, "admin: { listen: none }\n").unwrap();
    let (broken, disabled) = (broken.to_str().unwrap(), disabled.to_str().unwrap());
    for (args, reason) in [
        (&["values", "--config", broken][..], "broken.yaml"),
        (&["health", "--config", broken], "broken.yaml"),
        (&["reload", "--config", broken], "broken.yaml"),
        (&["reload", "--config", "/no/such.yaml"], "/no/such.yaml"),
        (&["values", "--config", disabled], "disables the admin endpoint"),
        (&["send", "a", "counter", "--verify", "--to", "udp://127.0.0.1:9"], "was not read"),
    ] {
        let run = |token: Option<&str>| {
            let mut command = tallyd();
            command.args(args).env_remove("TALLYD_TOKEN");
            command.envs(token.map(|token| ("TALLYD_TOKEN", token)));
            let output = command.output().unwrap();
            (output.status.success(), text_of(&output))
        };
        let (is_good, text) = run(Some(TOKEN));
        assert!(!is_good && text.contains("nothing was sent"), "{args:?}: {text}");
        assert!(text.contains(reason) && text.contains("--admin http"), "{args:?}: {text}");
        assert!(!text.contains(TOKEN), "{args:?}: {text}");
        // Without a secret, the default address may be tried.
        let (_, text) = run(None);
        assert!(!text.contains("nothing was sent"), "{args:?}: {text}");
    }
}

#[test]
fn a_reload_is_accepted_although_its_file_has_a_new_first_token() {
    let daemon = start(folder(), TOKENS);
    let (old, new) = ("aaaaaaaaaaaaaaaaaaaaaaaa", "0123456789abcdef0123456789abcdef");
    // Port 0 in the daemon's file is no address to connect to.
    let path = daemon.path("other.yaml");
    let run = |args: &[&str]| {
        let output =
            tallyd().args(args).args(["--config", path.to_str().unwrap()]).output().unwrap();
        (output.status.success(), text_of(&output))
    };
    let write = |tokens: &str| {
        daemon.write_config(&super::config(tokens, ""));
        let text = std::fs::read_to_string(daemon.path("tallyd.yaml")).unwrap();
        let text = text.replace("127.0.0.1:0", &daemon.admin.to_string());
        std::fs::write(&path, text.replace("socket: ", "#socket: ")).unwrap();
    };
    write(&format!("tokens: [{new}, {old}]"));
    let (is_good, text) = run(&["values", "--json"]);
    assert!(is_good, "before the reload: {text}");
    let (is_good, text) = run(&["reload"]);
    assert!(is_good && text.contains("reloaded"), "{text}");
    write(&format!("tokens: [{new}]"));
    assert!(run(&["reload"]).0, "the new token is valid since the first reload");
    // Nothing in the file is valid yet: the error names valid credentials.
    write(&format!("tokens: [{old}]"));
    let (is_good, text) = run(&["reload"]);
    assert!(!is_good && text.contains("401") && text.contains("--token-file"), "{text}");
    assert!(text.contains("until it has read this file"), "{text}");
    std::fs::write(daemon.path("previous"), new).unwrap();
    let previous = daemon.path("previous");
    let (is_good, text) = run(&["reload", "--token-file", previous.to_str().unwrap()]);
    assert!(is_good, "{text}");
    assert!(run(&["values", "--json"]).0);
}

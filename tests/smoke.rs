//! The program starts and prints its version. The package `black-box-tests` in this folder tests
//! everything else.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

#[test]
fn the_program_reports_its_version() {
    let output = Command::new(env!("CARGO_BIN_EXE_tallyd")).arg("--version").output().unwrap();
    assert!(output.status.success());
    let version = String::from_utf8(output.stdout).unwrap();
    assert_eq!(version, concat!("tallyd ", env!("CARGO_PKG_VERSION"), "\n"));
}

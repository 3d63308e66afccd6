//! Random faults for some time, then an account of every sample.
//!
//! `scripts/chaos.sh --seconds 600 --seed 7` runs it for longer. One seed always stands for the same
//! sequence of faults, but their timing differs a little from run to run.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "chaos/account.rs"]
mod account;
#[path = "chaos/acks.rs"]
mod acks;
#[path = "chaos/clusters.rs"]
mod clusters;
#[path = "chaos/config.rs"]
mod config;
#[path = "chaos/continuity.rs"]
mod continuity;
#[path = "chaos/evidence.rs"]
mod evidence;
#[path = "chaos/faults.rs"]
mod faults;
#[path = "chaos/graphite.rs"]
mod graphite;
#[path = "chaos/host.rs"]
mod host;
#[path = "chaos/influx.rs"]
mod influx;
#[path = "chaos/ledger.rs"]
mod ledger;
#[path = "chaos/monitor.rs"]
mod monitor;
#[path = "chaos/numbers.rs"]
mod numbers;
#[path = "chaos/options.rs"]
mod options;
#[path = "chaos/plan.rs"]
mod plan;
#[path = "chaos/process.rs"]
mod process;
#[path = "chaos/random.rs"]
mod random;
#[path = "chaos/report.rs"]
mod report;
#[path = "chaos/restarts.rs"]
mod restarts;
#[path = "chaos/run.rs"]
mod run;
#[path = "chaos/senders.rs"]
mod senders;
#[path = "chaos/statsd.rs"]
mod statsd;
#[path = "chaos/statsd_tcp.rs"]
mod statsd_tcp;

use std::fs;

use account::Account;
use options::Options;
use plan::Plan;
use run::Run;

#[test]
fn random_faults_cost_no_sample_that_is_not_accounted_for() {
    let options = Options::from_environment();
    println!("chaos: seed {}, {:?} of faults", options.seed, options.length);
    // Kept until the end: a daemon that cannot start ends the test with a panic.
    let folder = tempfile::Builder::new().prefix("tallyd-chaos-").tempdir().unwrap().keep();
    println!("chaos: files in {}", folder.display());
    let mut run = Run::start(&folder, &options);
    run.inject(Plan::new(&options), options.length);
    let finished = run.finish();
    let account = Account::of(&finished);
    println!("faults: {:?}", finished.scene.report.counts());
    println!("{}", account.lines.join("\n"));
    println!("{}", finished.outcome.summary());
    let findings = finished.scene.report.findings();
    if findings.is_empty() {
        return fs::remove_dir_all(folder).unwrap();
    }
    fs::write(folder.join("timeline"), finished.scene.report.timeline()).unwrap();
    panic!(
        "{} findings with TALLYD_CHAOS_SEED={}; the files are in {}\nthe latest faults:\n{}\nfindings:\n{}",
        findings.len(),
        options.seed,
        folder.display(),
        finished.scene.report.latest(),
        findings.join("\n")
    );
}

#[test]
fn a_seed_stands_for_one_sequence_of_faults() {
    let options = |seed| Options { seed, ..Options::from_environment() };
    let plan = |seed| Plan::new(&options(seed)).take(300).map(|step| format!("{step:?}"));
    assert!(plan(7).eq(plan(7)));
    assert!(!plan(7).eq(plan(8)));
}

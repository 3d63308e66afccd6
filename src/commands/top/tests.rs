//! The screen and the model, without a terminal and without a daemon.

use std::time::{Duration, SystemTime};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::{Value, json};

use super::canvas::ScreenStyle;
use super::draw::draw;
use super::keys::{KeyOutcome, press};
use super::model::Model;
use super::reply::TopReply;
use super::views::View;

const STYLE: ScreenStyle = ScreenStyle { has_colours: false, interval: Duration::from_secs(1) };

fn reply_of(status: &Value, top: &Value) -> TopReply {
    TopReply {
        status: serde_json::from_value(status.clone()).unwrap(),
        top: serde_json::from_value(top.clone()).unwrap(),
        rejected: None,
        history: None,
    }
}

fn status(uptime_s: f64, received: u64) -> Value {
    json!({
        "version": "9.9.9", "instance": "a", "uptime_s": uptime_s,
        "process": { "pid": 7, "cpu_s": uptime_s / 4.0, "resident_bytes": 1048576, "resident_peak_bytes": 1 },
        "windows": { "interval_s": 10.0, "lag_s": 0.001, "points": 8 },
        "ledger": { "received": received, "aggregated": received, "rejected": {}, "kernel_drops": 0, "bytes": 10 },
        "listeners": [{
            "listener": "json/udp 127.0.0.1:5090", "received": received, "aggregated": received,
            "rejected": {}, "kernel_drops": 0, "bytes": 10, "refused": {}
        }],
        "series": { "total": 3, "overflowed": 0 },
        "forwarders": { "kafka": {
            "kind": "kafka", "up": true, "flushed": 8, "recovered": 0, "delivered": 8, "queued": 0,
            "spooled": 0, "dropped": {}, "failures": 0, "last_error": null, "last_error_at": null, "spool": null
        } }
    })
}

fn metrics(names: &[&str]) -> Value {
    let row = |(place, name): (usize, &&str)| {
        let n = names.len() - place;
        json!({ "name": name, "samples": n * 10, "window_samples": n, "series": n, "new_series": 0, "overflowed": 0 })
    };
    let top: Vec<Value> = names.iter().enumerate().map(row).collect();
    json!({ "metrics": {
        "window_end": "2026-01-31T12:01:00.000Z", "interval_s": 10.0, "new_within_s": 60.0,
        "total": names.len(), "window_samples": 1, "sort": "samples", "top": top
    } })
}

fn model(view: View, status: &Value, top: &Value) -> Model {
    let mut model = Model::new("http://127.0.0.1:9495", view, None);
    model.take(Ok(reply_of(status, top)), SystemTime::now());
    model
}

fn screen(model: &mut Model, columns: u16, lines: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(columns, lines)).unwrap();
    terminal.draw(|frame| draw(frame, model, STYLE)).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y: u16| (0..columns).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..lines).map(|y| line(y).trim_end().to_owned()).collect()
}

fn key(model: &mut Model, code: KeyCode) -> KeyOutcome {
    press(model, KeyEvent::new(code, KeyModifiers::NONE))
}

fn keys(model: &mut Model, keys: &str) {
    for c in keys.chars() {
        assert_eq!(key(model, KeyCode::Char(c)), KeyOutcome::Draw);
    }
}

#[test]
fn rates_are_between_two_polls_and_an_extra_poll_replaces_the_last() {
    let top = metrics(&["m"]);
    let mut model = model(View::Metrics, &status(100.0, 1_000), &top);
    assert!(screen(&mut model, 80, 24)[1].starts_with("in …"), "one look has no rate");
    model.take(Ok(reply_of(&status(102.0, 1_500), &top)), SystemTime::now());
    let lines = screen(&mut model, 80, 24);
    assert!(lines[1].starts_with("in 250/s"), "{lines:#?}");
    assert!(lines[0].ends_with("pid 7  cpu 25.0 %  mem 1 MiB"), "{lines:#?}");
    // Asked for by a key, 0.1 s later: the rate is not over 0.1 s.
    model.take(Ok(reply_of(&status(102.1, 1_710), &top)), SystemTime::now());
    let lines = screen(&mut model, 80, 24);
    assert!(lines[1].starts_with("in 338/s"), "710 in 2.1 s: {lines:#?}");
}

#[test]
fn a_restart_of_the_daemon_resets_the_rates() {
    let top = metrics(&["m"]);
    let mut model = model(View::Metrics, &status(100.0, 1_000), &top);
    let mut other = status(5.0, 10);
    other["instance"] = "b".into();
    model.take(Ok(reply_of(&other, &top)), SystemTime::now());
    let lines = screen(&mut model, 80, 24);
    assert!(lines[1].starts_with("in …"), "no rate over a restart: {lines:#?}");
}

#[test]
fn samples_that_a_rule_drops_are_no_reason_for_a_warning() {
    let rejecting = |uptime_s, reason: &str, count| {
        let mut status = status(uptime_s, count);
        status["ledger"]["rejected"] = json!({ reason: count });
        status
    };
    for (reason, is_warned) in [("rule", false), ("bad_json", true)] {
        let top = metrics(&["m"]);
        let mut model = model(View::Metrics, &rejecting(100.0, reason, 1_000), &top);
        let later = rejecting(102.0, reason, 2_000);
        model.take(Ok(reply_of(&later, &top)), SystemTime::now());
        let text = screen(&mut model, 100, 24).join("\n");
        assert!(text.contains("+ 2,000 rejected"), "the equation holds: {text}");
        assert_eq!(text.contains("500 messages a second are rejected"), is_warned, "{text}");
    }
}

#[test]
fn names_of_clients_cannot_break_the_screen() {
    let names = [
        "plain",
        "\u{1b}[2J\u{1b}[31mred\r\n",
        "a\u{202e}b\u{200b}c",
        "度".repeat(100).leak(),
        "x".repeat(10_000).leak(),
        "e\u{301}\u{301}\u{301}\u{301}",
        "",
    ];
    for (columns, lines) in [(80, 24), (40, 12), (24, 10), (200, 60)] {
        let mut model = model(View::Metrics, &status(1.0, 1), &metrics(&names));
        let shown = screen(&mut model, columns, lines);
        let text = shown.join("\n");
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text}");
        assert!(shown.last().unwrap().starts_with("q quit"), "{text}");
        // Each name has its line, and the numbers stand below their titles.
        let samples = shown[6].find("SAMPLES/s").map(|at| shown[6][..at].chars().count());
        if columns >= 80 {
            assert!(samples.is_some(), "{text}");
            assert_eq!(shown[7..14].iter().filter(|line| !line.is_empty()).count(), 7, "{text}");
            assert!(text.contains("\\u{1b}[2J"), "{text}");
        }
    }
}

#[test]
fn any_size_can_be_drawn() {
    for columns in (0..130).step_by(13) {
        for lines in (0..30).step_by(3) {
            for view in View::ALL {
                let mut model = model(view, &status(1.0, 1), &metrics(&["one", "two"]));
                screen(&mut model, columns, lines);
                keys(&mut model, "?");
                screen(&mut model, columns, lines);
            }
        }
    }
}

#[test]
fn the_most_important_problem_is_shown_first() {
    let top = metrics(&["m"]);
    let notice = |change: fn(&mut Value)| {
        let mut model = model(View::Metrics, &status(100.0, 1_000), &top);
        let mut now = status(101.0, 1_000);
        change(&mut now);
        model.take(Ok(reply_of(&now, &top)), SystemTime::now());
        screen(&mut model, 80, 24)[4].clone()
    };
    assert_eq!(notice(|_| {}), "all is well");
    assert_eq!(
        notice(|now| now["ledger"]["rejected"] = json!({ "bad_json": 5 })),
        "5 messages a second are rejected: see the view Rejected"
    );
    let down = notice(|now| {
        now["ledger"]["rejected"] = json!({ "bad_json": 5 });
        now["forwarders"]["kafka"]["up"] = false.into();
        now["forwarders"]["kafka"]["last_error"] = "no\nbroker".into();
    });
    assert_eq!(down, "kafka is down: no\\nbroker  (and 1 more)");
    let meant = notice(|now| now["forwarders"]["kafka"]["dropped"] = json!({ "debug_mode": 5 }));
    assert_eq!(meant, "all is well", "somebody wants it so");
    let lost = notice(|now| now["forwarders"]["kafka"]["dropped"] = json!({ "queue_full": 5 }));
    assert!(lost.starts_with("points are dropped"), "{lost}");
}

#[test]
fn points_that_wait_for_a_destination_that_hangs_are_a_problem() {
    let notice = |queued: u64| {
        let mut now = status(101.0, 1_000);
        now["forwarders"]["kafka"]["queued"] = queued.into();
        let mut model = model(View::Metrics, &now, &metrics(&["m"]));
        screen(&mut model, 80, 24)[4].clone()
    };
    assert_eq!(notice(91_755), "91,755 points wait for kafka: see the view Forwarders");
    assert_eq!(notice(8), "all is well", "the points of one window are on their way");
}

#[test]
fn the_header_is_never_cut_inside_a_number() {
    let mut now = status(101.0, 123_456_789);
    now["ledger"]["rejected"] = json!({ "bad_json": 12_345_678 });
    now["series"] = json!({ "total": 4_000, "overflowed": 1_090 });
    now["forwarders"]["kafka"]["delivered"] = 12_345_678.into();
    now["forwarders"]["kafka"]["queued"] = 91_755.into();
    let lines = |columns| {
        let mut model = model(View::Metrics, &now, &metrics(&["m"]));
        screen(&mut model, columns, 24)
    };
    assert_eq!(
        lines(120)[3],
        "points 8 = 12,345,678 delivered + 91,755 waiting + 0 dropped   series 4,000  overflowed 1,090"
    );
    assert_eq!(
        lines(80)[3],
        "points 8 = 12.3M delivered + 91.8k waiting + 0 dropped  overflowed 1090 …"
    );
    assert_eq!(lines(60)[3], "points 8 = 12.3M delivered + 91.8k waiting + 0 dropped …");
    for columns in 24..120 {
        let cut = &lines(columns)[2];
        let is_whole = cut.ends_with("kernel drops 0") || cut.ends_with('…');
        assert!(is_whole, "{columns}: {cut}");
    }
}

#[test]
fn a_wide_screen_shows_bars_between_names_and_numbers() {
    let mut model = model(View::Metrics, &status(1.0, 1), &metrics(&["first", "second"]));
    let lines = screen(&mut model, 200, 24);
    let bar = |line: &str| line.matches('▪').count();
    assert_eq!((bar(&lines[7]), bar(&lines[8])), (100, 50), "{lines:#?}");
    assert_eq!(bar(&screen(&mut model, 60, 24)[7]), 0);
}

#[test]
fn a_wide_screen_gives_its_room_to_the_text_of_rejected_messages() {
    let excerpt = format!(r#"{{"metric_name": "{}", "metric_type": "tmer"}}"#, "m".repeat(90));
    let rejected = json!([{
        "time": "2026-01-31T12:00:00.000Z", "listener": "json/udp 127.0.0.1:5090",
        "sender": "127.0.0.1:40326", "reason": "unknown_type", "offset": 7, "expected": "a type",
        "excerpt": excerpt
    }]);
    let mut reply = reply_of(&status(1.0, 1), &metrics(&["m"]));
    reply.rejected = Some(serde_json::from_value(rejected).unwrap());
    let mut model = Model::new("http://127.0.0.1:9495", View::Rejected, None);
    model.take(Ok(reply), SystemTime::now());
    let lines = screen(&mut model, 200, 24);
    assert!(lines[7].ends_with(&excerpt), "{lines:#?}");
    assert!(lines[7].starts_with("12:00:00 unknown_type 127.0.0.1:40326 {"), "{lines:#?}");
}

#[test]
fn the_explanations_fit_80_columns() {
    for view in View::ALL {
        let mut model = model(view, &status(1.0, 1), &metrics(&["m"]));
        keys(&mut model, "?");
        let lines = screen(&mut model, 80, 40);
        // Above are the header, where `…` stands for rates that are not known yet, and the views.
        assert!(!lines[6..].join("\n").contains('…'), "{lines:#?}");
    }
}

#[test]
fn without_an_answer_the_last_values_stay_with_their_time() {
    let mut model = model(View::Metrics, &status(100.0, 1_000), &metrics(&["m"]));
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(12 * 3600 + 34);
    model.take(Err("gone".to_owned()), at);
    model.take(Err("gone for longer".to_owned()), at + Duration::from_secs(9));
    let lines = screen(&mut model, 80, 24);
    assert_eq!(lines[4], "no answer since 12:00:34 UTC, retrying: gone for longer");
    assert!(lines[7].starts_with("m "), "{lines:#?}");
    assert!(model.request().wants_history);
}

#[test]
fn only_data_of_the_open_view_is_requested() {
    let mut model = model(View::Metrics, &status(1.0, 1), &metrics(&["m"]));
    let asked = |model: &Model| model.request().top.map(|query| query.to_string());
    let query = |query: &str| Some(query.to_owned());
    assert_eq!(asked(&model), query("parts=metrics&sort=samples&limit=200"));
    keys(&mut model, "ss");
    assert_eq!(asked(&model), query("parts=metrics&sort=series&limit=200"));
    keys(&mut model, "s");
    assert_eq!(asked(&model), query("parts=metrics&sort=new_series&limit=200"));
    keys(&mut model, "3");
    assert_eq!(asked(&model), query("parts=senders&sort=new_series&limit=200"));
    assert!(!model.request().wants_rejected);
    keys(&mut model, "6");
    assert_eq!((asked(&model), model.request().wants_rejected), (None, true));
    keys(&mut model, "1/");
    let all = "parts=metrics&sort=new_series&limit=1000";
    assert_eq!(asked(&model), query(all), "a filter looks through all that the daemon tells");
}

#[test]
fn a_cancelled_filter_restores_the_previous_one() {
    let mut model = model(View::Metrics, &status(1.0, 1), &metrics(&["Alpha", "beta", "alphabet"]));
    let shown = |model: &Model| model.table().rows.len();
    keys(&mut model, "/ALPHA");
    assert_eq!(shown(&model), 2);
    key(&mut model, KeyCode::Enter);
    keys(&mut model, "/bet");
    assert_eq!(shown(&model), 1, "it is written behind the one that there was");
    key(&mut model, KeyCode::Esc);
    assert_eq!(shown(&model), 2);
    key(&mut model, KeyCode::Esc);
    assert_eq!(shown(&model), 3);
    // Escape and a letter that came together are two keys.
    keys(&mut model, "/x");
    press(&mut model, KeyEvent::new(KeyCode::Char('?'), KeyModifiers::ALT));
    assert!(model.typed.is_none() && model.shows_help);
    key(&mut model, KeyCode::Esc);
    // While it is written, letters are no commands.
    keys(&mut model, "/q");
    assert_eq!(model.typed.as_deref(), Some("q"));
}

#[test]
fn rows_are_sorted_by_any_column_and_equals_by_name() {
    let mut model = model(View::Metrics, &status(1.0, 1), &metrics(&["c", "a", "b"]));
    let order = |model: &Model| -> String {
        model.table().rows.iter().map(|row| row.cells[0].text.as_str()).collect()
    };
    assert_eq!(order(&model), "cab", "by samples a second");
    keys(&mut model, "r");
    assert_eq!(order(&model), "bac");
    keys(&mut model, "S");
    assert_eq!(order(&model), "abc", "by name");
    keys(&mut model, "ssss");
    assert_eq!(order(&model), "abc", "nothing is new: by name");
}

#[test]
fn a_narrow_screen_drops_columns_but_not_the_name() {
    let mut model = model(View::Metrics, &status(1.0, 1), &metrics(&["service.requests.count"]));
    let wide = screen(&mut model, 80, 24);
    assert!(
        wide[6].contains("OVERFLOWED") && wide[7].contains("service.requests.count"),
        "{wide:#?}"
    );
    let narrow = screen(&mut model, 40, 24);
    assert!(!narrow[6].contains("OVERFLOWED") && narrow[6].contains("SAMPLES/s"), "{narrow:#?}");
    assert!(narrow[7].starts_with("servi") && narrow[7].contains('…'), "{narrow:#?}");
}

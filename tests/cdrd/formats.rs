//! Formats, conditions and masks, as whoever reads a sink sees them.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::harness::{Bench, PATIENCE, Running, envelopes, until};

/// The columns of the contract, in its order.
const COLUMNS: &str = "schema,id,pbx,origin,received_at,tenant_id,tenant_name,session_id,cdr_id,\
    call_id,direction,caller,caller_name,caller_domain,callee,callee_name,callee_domain,did,\
    outbound_caller_id,trunk,started_at,rang_at,answered_at,ended_at,ring_seconds,talk_seconds,\
    duration_seconds,answered,outcome,end_reason,status_code,queue,agent,user_data,cost,targets";

/// Prints the rows of a CSV file as JSON objects, a line each, after the names of the columns.
const READ_CSV: &str = r"
import csv, json, sys
with open(sys.argv[1], newline='', encoding='utf-8') as file:
    rows = list(csv.reader(file, strict=True))
print(json.dumps(rows[0]))
for row in rows[1:]:
    assert len(row) == len(rows[0]), row
    print(json.dumps(dict(zip(rows[0], row))))
";

/// What another program makes of a CSV file: its columns and its rows.
fn read_by_python(path: &Path) -> (Vec<String>, Vec<Value>) {
    let python = std::env::var_os("CDRD_TEST_PYTHON").unwrap_or_else(|| "python3".into());
    let output = Command::new(&python).args(["-c", READ_CSV]).arg(path).output();
    let output = output.unwrap_or_else(|e| {
        panic!("{}: {e}; install Python 3, or name it in CDRD_TEST_PYTHON", python.display())
    });
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines = text.lines();
    let columns = serde_json::from_str(lines.next().expect("a header")).unwrap();
    (columns, lines.map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// A value of a record as a cell holds it, once the CSV is read.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.len().to_string(),
        other => other.to_string(),
    };
    let is_number = text.strip_prefix('+').is_some_and(|n| n.parse::<u128>().is_ok());
    let guard =
        if text.starts_with(['=', '+', '-', '@', '\t', '\r']) && !is_number { "'" } else { "" };
    let shown = |c: char| if c.is_control() && c != '\t' && c != '\n' { '\u{fffd}' } else { c };
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    format!("{guard}{}", text.chars().map(shown).collect::<String>())
}

fn assert_same(rows: &[Value], records: &[Value]) {
    assert_eq!(rows.len(), records.len());
    for (row, record) in rows.iter().zip(records) {
        for (name, value) in row.as_object().unwrap() {
            let expected = cell(record.get(name).unwrap_or(&Value::Null));
            assert_eq!(*value, Value::from(expected), "{name}");
        }
    }
}

fn file_sink(bench: &Bench, name: &str, lines: &str) -> String {
    format!("[sink.{name}]\ntype = \"file\"\npath = {:?}\n{lines}\n", bench.path(name))
}

/// Events that would harm a careless writer of CSV, or its reader.
fn hostile() -> Vec<String> {
    let mut session = 7_000_000_000_000_000_000_u64;
    let long = "ü,\"".repeat(4_000);
    let texts = [
        "a,b;c\td",
        "\"",
        "\"\"\"",
        "say \"hi\", please",
        "two\nlines",
        "two\r\nlines",
        "old\rmac",
        "\n",
        "\r\n",
        "'quoted'",
        "=cmd|' /C calc'!A0",
        "+1+1",
        "-2+3",
        "@SUM(1)",
        "\t=1+1",
        "\r=1+1",
        "=HYPERLINK(\"http://x\",\"y\")",
        "+493012345678",
        "0049",
        "00",
        "☎ 𝄞 👩‍👩‍👧 العربية",
        "nul\0nul",
        "\u{1b}[31mred",
        " padded ",
        ",",
        "",
        "\u{2028}",
        &long,
    ];
    let event = |text: &str| {
        session += 1;
        serde_json::json!({
            "event_type": "call_cdr", "session_id": session.to_string(), "caller": text,
            "caller_display_name": text, "user_data": text, "trunk_name": text, "cost": text,
        })
        .to_string()
    };
    texts.map(event).into()
}

#[tokio::test]
async fn another_program_reads_from_csv_what_the_record_says() {
    let bench = Bench::new().await;
    let csv = file_sink(&bench, "csv", "format = \"csv\"\ntimezone = \"Europe/Berlin\"");
    let record = file_sink(&bench, "record", "format = \"record\"\ntimezone = \"Europe/Berlin\"");
    let daemon = Running::start(&bench.config(&format!("{csv}{record}")));
    bench.subscribed().await;
    bench.push(20).await;
    let hostile = hostile();
    for event in &hostile {
        bench.pbx.push_raw(event.as_str()).await;
    }
    bench.pbx.settle().await.unwrap();
    daemon.stop().await.unwrap();

    let records = envelopes(&bench.path("record"));
    let cdrs = records.iter().filter(|record| record.get("event_type").is_none()).count();
    assert_eq!(cdrs, 20 + hostile.len());
    let (columns, rows) = read_by_python(&bench.path("csv"));
    assert_eq!(columns.join(","), format!("{COLUMNS},event_type"));
    assert_same(&rows, &records);
    let texts: Vec<_> = rows.iter().map(|row| row["user_data"].as_str().unwrap()).collect();
    for text in ["two\nlines", "'=cmd|' /C calc'!A0", "+493012345678", "say \"hi\", please"] {
        assert!(texts.contains(&text), "{text}");
    }
}

#[tokio::test]
async fn a_csv_file_has_its_header_once_and_goes_on_after_a_restart() {
    let bench = Bench::new().await;
    let csv = file_sink(&bench, "csv", "format = \"csv\"\nevents = [\"call_cdr\"]");
    let config = bench.config(&csv);
    let daemon = Running::start(&config);
    bench.subscribed().await;
    bench.push(10).await;
    daemon.stop().await.unwrap();
    let text = std::fs::read_to_string(bench.path("csv")).unwrap();
    assert!(text.starts_with(&format!("{COLUMNS}\r\ncdr/1,")) && text.ends_with("\r\n"), "{text}");
    assert_eq!(text.matches("\r\n").count(), 11);

    // A crash has torn a row after a line break inside of a cell.
    std::fs::write(bench.path("csv"), format!("{text}cdr/1,torn,\"two\nlines")).unwrap();
    let daemon = Running::start(&config);
    bench.subscribed().await;
    bench.push(10).await;
    daemon.stop().await.unwrap();
    let longer = std::fs::read_to_string(bench.path("csv")).unwrap();
    assert!(longer.starts_with(&text));
    let (columns, rows) = read_by_python(&bench.path("csv"));
    assert_eq!((columns.join(",").as_str(), rows.len()), (COLUMNS, 20));
    assert!(rows.iter().all(|row| row["schema"] == "cdr/1" && row["id"] != "torn"));
}

#[tokio::test]
async fn lines_of_another_format_in_a_csv_file_are_not_cut_off() {
    let bench = Bench::new().await;
    std::fs::write(bench.path("csv"), "{\"a\":1}\n{\"b\":2}\n{\"torn").unwrap();
    let csv = file_sink(&bench, "csv", "format = \"csv\"\nevents = [\"call_cdr\"]");
    let daemon = Running::start(&bench.config(&csv));
    bench.subscribed().await;
    bench.push(1).await;
    daemon.stop().await.unwrap();
    let text = std::fs::read_to_string(bench.path("csv")).unwrap();
    assert!(text.starts_with("{\"a\":1}\n{\"b\":2}\ncdr/1,"), "{text}");
}

/// The real program with these sinks, killed when dropped.
struct Program(Child);

impl Program {
    fn start(bench: &Bench, sinks: &str) -> Self {
        std::fs::write(bench.path("config.toml"), bench.config_text(sinks)).unwrap();
        let stdout = std::fs::File::create(bench.path("stdout")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_cdrd"));
        command.args(["run", "--log-level", "trace", "-c"]).arg(bench.path("config.toml"));
        let log = std::fs::File::create(bench.path("log")).unwrap();
        Self(command.stdout(stdout).stderr(log).stdin(Stdio::null()).spawn().unwrap())
    }

    /// SIGTERM, and what was written to standard output.
    async fn stop(mut self, bench: &Bench) -> String {
        let told = Command::new("kill").arg(self.0.id().to_string()).status().unwrap();
        assert!(told.success());
        let deadline = std::time::Instant::now() + PATIENCE;
        let status = loop {
            match self.0.try_wait().unwrap() {
                Some(status) => break status,
                None => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
            }
            assert!(std::time::Instant::now() < deadline, "does not stop");
        };
        assert_eq!(status.code(), Some(0));
        std::fs::read_to_string(bench.path("stdout")).unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn standard_output_takes_records_and_csv_with_a_header_at_each_start() {
    let bench = Bench::new().await;
    let files = file_sink(&bench, "record", "format = \"record\"\nevents = [\"call_cdr\"]");
    let stdout = |format: &str| {
        format!(
            "{files}[sink.out]\ntype = \"stdout\"\nformat = \"{format}\"\nevents = [\"call_cdr\"]\n"
        )
    };
    let path = bench.path("stdout");
    let delivered = || std::fs::read_to_string(&path).unwrap_or_default().matches("cdr/1").count();
    let program = Program::start(&bench, &stdout("record"));
    bench.subscribed().await;
    bench.push(5).await;
    until("five records", async || delivered() >= 5).await;
    let text = program.stop(&bench).await;
    assert_eq!(text, std::fs::read_to_string(bench.path("record")).unwrap());
    for _ in 0..2 {
        let program = Program::start(&bench, &stdout("csv"));
        bench.subscribed().await;
        bench.push(5).await;
        until("five rows", async || delivered() >= 5).await;
        let text = program.stop(&bench).await;
        assert!(text.starts_with(&format!("{COLUMNS}\r\n")), "{text}");
        assert_eq!((text.matches("schema").count(), text.matches("\r\n").count()), (1, 6));
    }
}

/// What a condition leaves over, and what it should.
async fn filtered(conditions: &str, holds: impl Fn(&Value) -> bool) {
    let bench = Bench::new().await;
    let all = file_sink(&bench, "all", "format = \"record\"");
    let some = file_sink(&bench, "some", &format!("format = \"record\"\nwhere = {conditions}"));
    let daemon = Running::start(&bench.config(&format!("{all}{some}")));
    bench.subscribed().await;
    bench.push(64).await;
    daemon.stop().await.unwrap();
    let all = envelopes(&bench.path("all"));
    let expected: Vec<_> = all.iter().filter(|record| holds(record)).cloned().collect();
    assert!(!expected.is_empty() && expected.len() < all.len(), "{conditions}");
    assert!(envelopes(&bench.path("some")) == expected, "{conditions}");
}

#[tokio::test]
async fn a_sink_gets_only_events_whose_record_fits_its_conditions() {
    filtered(r#"{ direction = ["inbound", "internal"], answered = false }"#, |record| {
        ["inbound", "internal"].contains(&record["direction"].as_str().unwrap_or_default())
            && record["answered"] == false
    })
    .await;
    filtered(r#"{ caller = ["+*"], trunk = ["carrier-*"] }"#, |record| {
        let starts = |key: &str, with| record[key].as_str().is_some_and(|t| t.starts_with(with));
        starts("caller", "+") && starts("trunk", "carrier-")
    })
    .await;
}

/// The digits of every number that the simulated office and its callers have.
fn numbers(records: &[Value]) -> Vec<String> {
    let keys = ["caller", "callee", "did", "outbound_caller_id"];
    let numbers = records.iter().flat_map(|record| keys.map(|key| record[key].as_str()));
    let mut numbers: Vec<_> = numbers.flatten().map(|n| n.trim_matches('+').to_owned()).collect();
    // Short ones occur by chance in times and ids.
    numbers.retain(|number| number.len() > 6);
    numbers.sort();
    numbers.dedup();
    numbers
}

#[tokio::test]
async fn no_sink_and_no_log_shows_a_masked_number() {
    let bench = Bench::new().await;
    let mask = "mask = { caller = \"last4\", callee = \"hash\", caller_name = \"drop\", \
        callee_name = \"drop\", did = \"hash\", outbound_caller_id = \"last4\", user_data = \"drop\" }\n\
        mask_key = \"a key of this test alone\"";
    let formats = ["raw", "cloudevents", "record", "csv"];
    let masked = formats.map(|f| file_sink(&bench, f, &format!("format = \"{f}\"\n{mask}")));
    let plain = file_sink(&bench, "plain", "format = \"record\"")
        + &file_sink(&bench, "frames", "format = \"raw\"");
    let program = Program::start(&bench, &format!("{}{plain}", masked.concat()));
    bench.subscribed().await;
    bench.push(64).await;
    program.stop(&bench).await;

    let sent: Vec<_> = bench.pbx.log().into_iter().filter(|p| p.event_type.is_some()).collect();
    let frames = std::fs::read(bench.path("frames")).unwrap();
    let bytes: Vec<u8> = sent.iter().flat_map(|p| [&p.bytes[..], b"\n"].concat()).collect();
    assert!(frames == bytes, "a sink without a mask has not the PBX's own bytes");
    let records = envelopes(&bench.path("plain"));
    let numbers = numbers(&records);
    assert!(numbers.len() > 20, "{numbers:?}");
    for name in formats {
        let text = std::fs::read_to_string(bench.path(name)).unwrap();
        assert!(text.lines().count() >= records.len());
        for number in &numbers {
            assert!(!text.contains(number), "{number} in {name}");
        }
        assert!(!text.contains("Müller") && !text.contains("order="), "{name}");
    }
    let log = std::fs::read_to_string(bench.path("log")).unwrap();
    let below_trace = log.lines().filter(|line| !line.contains("TRACE")).collect::<String>();
    assert!(numbers.iter().all(|number| !below_trace.contains(number)));
    // The pseudonyms are the same in every form.
    let raw = envelopes(&bench.path("raw"));
    let shown = envelopes(&bench.path("record"));
    for (raw, record) in raw.iter().zip(&shown).filter(|(raw, _)| raw["event_type"] == "call_cdr") {
        for key in ["caller", "callee"] {
            assert_eq!(raw[key], record[key]);
        }
    }
}

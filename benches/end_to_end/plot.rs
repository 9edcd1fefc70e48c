//! Throughput and latency as a picture: two rows of bars, in SVG that looks right on light
//! and on dark pages.

use std::fmt::Write;
use std::path::Path;

use anyhow::Result;

use crate::latency::RATES;
use crate::report::Found;

const WIDTH: f64 = 720.0;
/// Where bars begin, and how long the longest is.
const LEFT: f64 = 120.0;
const LONGEST: f64 = 480.0;
const BAR: f64 = 22.0;

struct Bar {
    name: String,
    value: f64,
    shown: String,
    ours: bool,
}

pub fn write(found: &Found, path: &Path) -> Result<()> {
    let mut body = String::new();
    let mut y = 28.0;
    let bar = |name: &str, value: f64, shown: String| Bar {
        name: name.to_owned(),
        value,
        shown,
        ours: name.starts_with("cdrd"),
    };
    let rates = found.rates();
    let bars: Vec<Bar> =
        rates.iter().map(|(s, rate)| bar(s.name(), *rate, format!("{rate:.0}"))).collect();
    y = group(
        "Events a second from the socket to a file, as fast as they come",
        &bars,
        y,
        &mut body,
    );
    for rate in RATES {
        for (what, which) in [("median", 0), ("99th percentile", 1)] {
            let delays = found.delays(rate);
            let bars: Vec<Bar> = delays
                .iter()
                .map(|(s, d)| {
                    let value = [d.p50, d.p99][which];
                    bar(s.name(), value, format!("{value:.2} ms"))
                })
                .collect();
            let title = format!("From sending to a line in the file at {rate} events/s, {what}");
            y = group(&title, &bars, y, &mut body);
        }
    }
    let svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" font-family=\"sans-serif\" font-size=\"13\">\n<style>text{{fill:#222}}.b{{fill:#9aa5b1}}.o{{fill:#1f7a5a}}@media(prefers-color-scheme:dark){{text{{fill:#ddd}}.b{{fill:#6b7785}}.o{{fill:#3fb58a}}}}</style>\n{body}</svg>\n"
    );
    std::fs::write(path, svg)?;
    Ok(())
}

/// One group of bars from `y` on; where the next begins.
fn group(title: &str, bars: &[Bar], mut y: f64, out: &mut String) -> f64 {
    if bars.is_empty() {
        return y;
    }
    let most = bars.iter().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
    let mut line = |text: String| writeln!(out, "{text}").expect("a String takes every byte");
    line(format!("<text x=\"8\" y=\"{y}\" font-weight=\"bold\">{title}</text>"));
    for bar in bars {
        let (length, class) = (bar.value / most * LONGEST, if bar.ours { "o" } else { "b" });
        y += BAR;
        line(format!(
            "<text x=\"{}\" y=\"{y}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            bar.name
        ));
        line(format!(
            "<rect class=\"{class}\" x=\"{LEFT}\" y=\"{:.1}\" width=\"{length:.1}\" height=\"14\" rx=\"2\"/>",
            y - 11.5
        ));
        line(format!("<text x=\"{:.1}\" y=\"{y}\">{}</text>", LEFT + length + 6.0, bar.shown));
    }
    y + 2.0 * BAR
}

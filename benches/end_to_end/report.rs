//! What was found: medians, in tables.

use crate::latency::RATES;
use crate::options::Options;
use crate::run::Run;
use crate::subject::Subject;

/// Percentiles of one run, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Delays {
    pub p50: f64,
    pub p99: f64,
    pub worst: f64,
}

/// Everything that was measured.
pub struct Found {
    subjects: Vec<Subject>,
    runs: Vec<(Subject, Run)>,
    delays: Vec<(Subject, u64, Delays)>,
}

impl Found {
    pub fn new(options: &Options) -> Self {
        Self { subjects: options.subjects.clone(), runs: Vec::new(), delays: Vec::new() }
    }

    pub fn throughput(&mut self, subject: Subject, run: Run) {
        self.runs.push((subject, run));
    }

    pub fn latency(&mut self, subject: Subject, rate: u64, delays: &[u64]) {
        let mut sorted = delays.to_vec();
        sorted.sort_unstable();
        let at = |part: f64| {
            let place = (sorted.len() as f64 * part) as usize;
            sorted[place.min(sorted.len() - 1)] as f64 / 1e6
        };
        self.delays.push((subject, rate, Delays { p50: at(0.5), p99: at(0.99), worst: at(1.0) }));
    }

    /// Events a second of each subject.
    pub fn rates(&self) -> Vec<(Subject, f64)> {
        let rate = |subject: &Subject| self.of(*subject, |run| run.events_per_second);
        self.subjects.iter().filter_map(|s| Some((*s, rate(s)?))).collect()
    }

    /// Percentiles of each subject at a rate.
    pub fn delays(&self, rate: u64) -> Vec<(Subject, Delays)> {
        let all = |subject: Subject, which: fn(&Delays) -> f64| {
            let of = self.delays.iter().filter(|(s, r, _)| *s == subject && *r == rate);
            median(of.map(|(_, _, delays)| which(delays)).collect())
        };
        let one = |subject: &Subject| {
            let p50 = all(*subject, |d| d.p50)?;
            let (p99, worst) = (all(*subject, |d| d.p99)?, all(*subject, |d| d.worst)?);
            Some((*subject, Delays { p50, p99, worst }))
        };
        self.subjects.iter().filter_map(one).collect()
    }

    pub fn print_throughput(&self) {
        let base = self.of(Subject::Websocat, |run| run.events_per_second);
        println!("\n| client | events/s | of websocat | CPU s per million | peak RSS MiB |");
        println!("|---|---|---|---|---|");
        for (subject, rate) in self.rates() {
            let events = |run: &Run| run.cost.cpu / run.events * 1e6;
            println!(
                "| {} | {rate:.0} | {} | {:.1} | {} |",
                subject.name(),
                base.map_or_else(|| "–".into(), |base| format!("{:.2}", rate / base)),
                self.of(subject, events).unwrap_or_default(),
                // Of one that has ended by itself nobody knows any more.
                self.of(subject, |run| run.cost.peak)
                    .filter(|peak| *peak > 0.0)
                    .map_or_else(|| "–".into(), |peak| format!("{peak:.0}")),
            );
        }
    }

    pub fn print_latency(&self) {
        println!("\n| client | events/s | p50 ms | p99 ms | worst ms |");
        println!("|---|---|---|---|---|");
        for rate in RATES {
            for (subject, Delays { p50, p99, worst }) in self.delays(rate) {
                println!("| {} | {rate} | {p50:.2} | {p99:.2} | {worst:.1} |", subject.name());
            }
        }
    }

    fn of(&self, subject: Subject, which: impl Fn(&Run) -> f64) -> Option<f64> {
        let of = self.runs.iter().filter(|(s, _)| *s == subject);
        median(of.map(|(_, run)| which(run)).collect())
    }
}

/// The middle one.
pub fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied()
}

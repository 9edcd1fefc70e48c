//! cdrd beside what people would use instead, over loopback, from the PBX's socket to
//! lines in a file. `just bench` runs it; docs/performance.md tells what came of it.
//!
//! Each round runs every subject once, one after the other, so that what the machine does
//! besides falls on all of them. What is printed are medians.
//!
//! | file | holds |
//! |---|---|
//! | [`options`] | what is asked for |
//! | [`subject`] | what is measured: cdrd, websocat, a plain reader |
//! | [`reader`] | the plain reader |
//! | [`run`] | one run: the simulated PBX, the subject, its file |
//! | [`process`] | a child process: its time, its memory |
//! | [`latency`] | from the moment of sending to a line in the file |
//! | [`backlog`] | what is in the journal already: start, and delivery |
//! | [`many`] | many PBXs at one daemon |
//! | [`receiver`] | an HTTP receiver that takes everything |
//! | [`report`], [`plot`] | tables, and a picture |

mod backlog;
mod latency;
mod many;
mod options;
mod plot;
mod process;
mod reader;
mod receiver;
mod report;
mod run;
mod subject;

use anyhow::Result;

use self::options::{Options, What};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["reader", url, file] => return reader::run(url, file),
        ["receiver", listen] => return receiver::run(listen),
        _ => {}
    }
    let options = Options::read(&arguments)?;
    std::fs::create_dir_all(&options.folder)?;
    let mut found = report::Found::new(&options);
    for what in &options.what {
        match what {
            What::Throughput => run::throughput(&options, &mut found)?,
            What::Latency => latency::measure(&options, &mut found)?,
            What::Backlog => backlog::measure(&options)?,
            What::Many => many::measure(&options)?,
        }
    }
    if let Some(path) = &options.plot {
        plot::write(&found, path)?;
    }
    Ok(())
}

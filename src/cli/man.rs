//! `cdrd man`: manual pages, from the same definition as the help.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::CommandFactory;

use super::exit::Exit;
use super::tail::is_broken_pipe;

/// Print the manual page, or that of a command
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cdrd man | man -l -
  cdrd man status | man -l -
  cdrd man --dir /usr/share/man/man1     writes all of them")]
pub struct Args {
    /// The command, instead of cdrd as a whole
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    command: Option<String>,
    /// Write the pages of cdrd and of every command into this directory
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints or writes.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let mut whole = super::Cli::command().disable_help_subcommand(true);
    whole.build();
    if let Some(dir) = &args.dir {
        std::fs::create_dir_all(dir)
            .and_then(|()| clap_mangen::generate_to(whole, dir))
            .with_context(|| format!("cannot write manual pages into {}", dir.display()))?;
        return Ok(Exit::Ok);
    }
    let command = match &args.command {
        None => &whole,
        Some(name) => match whole.find_subcommand(name) {
            Some(command) => command,
            None => {
                eprintln!("cdrd: no command {name:?}; cdrd --help lists them");
                return Ok(Exit::Usage);
            }
        },
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    let printed = std::io::stdout().write_all(&page).map_err(anyhow::Error::from);
    match printed {
        Err(e) if !is_broken_pipe(&e) => Err(e),
        _ => Ok(Exit::Ok),
    }
}

//! `cdrd completions`: a script for the shell, from the same definition as the help.

use std::io::Write;

use clap::CommandFactory;
use clap_complete::Shell;

use super::Cli;
use super::exit::Exit;

/// Print a completion script
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cdrd completions bash > /usr/share/bash-completion/completions/cdrd
  cdrd completions zsh > /usr/share/zsh/vendor-completions/_cdrd
  cdrd completions fish > ~/.config/fish/completions/cdrd.fish")]
pub struct Args {
    /// Which shell
    shell: Shell,
}

/// Prints the script.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "cdrd", &mut script);
    match std::io::stdout().lock().write_all(&script) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(e.into()),
        _ => Ok(Exit::Ok),
    }
}

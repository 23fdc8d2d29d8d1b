//! `pregon completions`: what a shell needs to complete our arguments.

use std::process::ExitCode;

use clap::CommandFactory;

/// Print completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pregon completions bash > /etc/bash_completion.d/pregon
  pregon completions fish > ~/.config/fish/completions/pregon.fish")]
pub(super) struct Args {
    /// The shell
    shell: clap_complete::Shell,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::Cli::command(), "pregon", &mut script);
    super::output::bytes(&script)?;
    Ok(ExitCode::SUCCESS)
}

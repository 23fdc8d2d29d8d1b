//! The commands as their users meet them: arguments and environment in, output and exit code out.

mod commands;
mod start;
mod json;
mod token;
mod database;
mod names;
mod installation;
mod init;
mod terminal;
mod top;
mod listen;
mod gateway;
mod desktop;

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use pregon_testkit::process;

use crate::support::binary;

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// Standard output as one JSON value.
    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// The binary in a folder of its own, without what the environment of the test says about pregón.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    for name in [
        "DATABASE_URL",
        "JWT_SECRET",
        "PREGON_ADMIN_URL",
        "PREGON_API_KEY",
        "PREGON_LISTEN",
        "PREGON_TOKEN",
        "PORT",
        "RUST_LOG",
    ] {
        command.env_remove(name);
    }
    command
        .args(arguments)
        .current_dir(process::scratch("cli", None).unwrap())
        .stdin(Stdio::null());
    command
}

pub(crate) fn run(arguments: &[&str], env: &[(&str, &str)]) -> Ran {
    finish(command(arguments).envs(env.iter().copied()).output().unwrap())
}

/// The same with a text on standard input.
fn run_with_input(arguments: &[&str], input: &str) -> Ran {
    let mut child = command(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    finish(child.wait_with_output().unwrap())
}

fn finish(output: std::process::Output) -> Ran {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

/// A configuration file of its own.
pub(crate) fn file(text: &str) -> PathBuf {
    let path = process::scratch("config", None).unwrap().join("pregon.toml");
    std::fs::write(&path, text).unwrap();
    path
}

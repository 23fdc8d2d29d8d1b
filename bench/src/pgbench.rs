//! pgbench, as an application's writers.

use std::process::Command;

use anyhow::{Context, ensure};
use pregon_testkit::{Database, Server};

/// Single-row inserts in transactions of their own; transactions a second.
pub(crate) fn inserts(
    server: &Server,
    database: &Database<'_>,
    table: &str,
    clients: usize,
    seconds: u32,
) -> anyhow::Result<f64> {
    let folder = pregon_testkit::process::scratch("pgbench", None)?;
    let script = folder.join("insert.sql");
    let sql = format!(
        "INSERT INTO public.{table} (producto, cantidad, total) VALUES ('Café de olla', 3, 87.50);\n"
    );
    std::fs::write(&script, sql)?;
    let output = Command::new(server.binaries().program("pgbench"))
        .args([
            "-n",
            "-h",
            "127.0.0.1",
            "-U",
            "postgres",
            "-p",
            &server.port().to_string(),
        ])
        .args([
            "-c",
            &clients.to_string(),
            "-j",
            &clients.min(2).to_string(),
            "-T",
            &seconds.to_string(),
        ])
        .arg("-f")
        .arg(&script)
        .arg(database.name())
        .output()
        .context("starting pgbench")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "pgbench: {text}{errors}");
    let rate = text.lines().find_map(|line| line.strip_prefix("tps = "));
    let number = rate.and_then(|rest| rest.split(' ').next());
    Ok(number.with_context(|| format!("no rate in {text}"))?.parse()?)
}

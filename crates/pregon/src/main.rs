//! The binary: the command line is in `pregon::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let arguments: Vec<String> = std::env::args().collect();
    let outcome = if arguments.get(1).is_some_and(|a| a == "conformance") {
        runtime.block_on(pregon::conformance::run(9001))
    } else {
        let path = std::path::PathBuf::from(arguments.get(3).map_or("pregon.toml", String::as_str));
        match pregon::config::Config::load(&path, &|name| std::env::var(name).ok()) {
            Ok(config) => runtime.block_on(pregon::serve::run(config, Some(path))),
            Err(problems) => Err(anyhow::anyhow!("{problems}")),
        }
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("{error:#}");
        ExitCode::FAILURE
    })
}

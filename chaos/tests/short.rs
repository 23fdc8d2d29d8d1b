//! A short run of the whole thing with a fixed seed; `make chaos` is the long one.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::process::Command;

/// Kills, cuts, a full disk and a frozen server within a minute or two: nothing is missing, doubled, late or invented.
#[test]
fn a_minute_of_faults_loses_nothing() {
    let gateway = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/pregon");
    let gateway = std::env::var_os("PREGON_BIN").map_or(gateway, Into::into);
    assert!(gateway.exists(), "{}: run `make build` first", gateway.display());
    let run = Command::new(env!("CARGO_BIN_EXE_pregon-chaos"))
        .arg("--binary")
        .arg(&gateway)
        .args([
            "--seed",
            "20261125",
            "--changes",
            "15000",
            "--faults",
            "14",
            "--pause",
            "1s",
        ])
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr),
    );
    assert!(run.status.success(), "{out}\n{err}");
}

//! A certificate authority of our own, made with the `openssl` program.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::Context;

/// A self-made authority whose certificate clients are told to trust.
#[derive(Debug)]
pub struct Authority {
    folder: PathBuf,
}

/// A certificate and its key, both PEM files.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The certificate.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Authority {
    /// Makes an authority in `folder` (its files are `ca.crt` and `ca.key`).
    pub fn create(folder: &Path) -> anyhow::Result<Self> {
        let authority = Self {
            folder: folder.to_owned(),
        };
        openssl(
            folder,
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=testkit-ca \
             -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign \
             -keyout ca.key -out ca.crt",
        )?;
        Ok(authority)
    }

    /// The file that a client trusts (`sslrootcert`).
    pub fn ca_file(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// A certificate for the given names: `DNS:localhost,IP:127.0.0.1`.
    pub fn issue(&self, file: &str, names: &str) -> anyhow::Result<Certificate> {
        let extensions = self.folder.join(format!("{file}.ext"));
        fs::write(
            &extensions,
            format!("subjectAltName={names}\nbasicConstraints=CA:FALSE\n"),
        )?;
        let request = format!(
            "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={file} -keyout {file}.key -out {file}.csr"
        );
        openssl(&self.folder, &request)?;
        let sign = format!(
            "x509 -req -in {file}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -extfile {file}.ext -out {file}.crt"
        );
        openssl(&self.folder, &sign)?;
        Ok(Certificate {
            cert: self.folder.join(format!("{file}.crt")),
            key: self.folder.join(format!("{file}.key")),
        })
    }
}

fn openssl(folder: &Path, arguments: &str) -> anyhow::Result<()> {
    let mut command = Command::new("openssl");
    command
        .args(arguments.split_whitespace())
        .current_dir(folder)
        .stdin(Stdio::null());
    let done = command.output().context("running openssl")?;
    anyhow::ensure!(
        done.status.success(),
        "openssl failed: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    Ok(())
}

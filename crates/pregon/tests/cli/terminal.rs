//! A command on a terminal, which `script` makes: keys in, what was shown out.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};

use pregon_testkit::{eventually, process};

use crate::support::{SOON, binary};

pub(super) struct Terminal {
    child: Child,
    keys: ChildStdin,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Starts the binary in a folder; the arguments need no quotes.
    pub(super) fn start(folder: &Path, arguments: &str) -> Self {
        let line = format!("stty cols 120 rows 40; exec {} {arguments}", binary().display());
        let mut command = Command::new("script");
        command.args(["-q", "-e", "-f", "-c", &line, "/dev/null"]);
        command
            .current_dir(folder)
            .env("TERM", "xterm")
            .env("SHELL", "/bin/sh");
        for name in [
            "DATABASE_URL",
            "JWT_SECRET",
            "PREGON_ADMIN_URL",
            "PREGON_LISTEN",
            "PORT",
        ] {
            command.env_remove(name);
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = process::spawn(command, process::SIGKILL).unwrap();
        let (keys, mut stream) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let shown = Arc::<Mutex<Vec<u8>>>::default();
        let shared = Arc::clone(&shown);
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut piece) {
                shared.lock().unwrap().extend_from_slice(&piece[..count]);
            }
        });
        Self { child, keys, shown }
    }

    pub(super) fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// Everything so far, with what moves the cursor in it.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    pub(super) async fn shows(&self, words: &str) {
        let shown = eventually(SOON, || async {
            let text = self.text();
            if text.contains(words) {
                Ok(())
            } else {
                Err(format!("no {words:?} in {text}"))
            }
        });
        shown.await.unwrap();
    }

    /// Waits for its end, and says whether it ended well.
    pub(super) async fn ended(&mut self) -> bool {
        process::wait_exit(&mut self.child, SOON).await.unwrap().success()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        process::end(&mut self.child, process::SIGKILL, SOON);
    }
}

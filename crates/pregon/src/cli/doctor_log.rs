//! D1 and D2 of `pregon doctor`: the folder of the log, and whether what shall be kept fits on its disk.

use std::io;
use std::path::Path;

use pregon_capture::doctor::CheckStatus;

use super::doctor::Finding;
use super::output::size;
use crate::config::Config;
use crate::log::disk::{Inspection, inspect};

/// Examines the folder that the next `pregon serve` would take.
pub(super) fn examine(config: &Config) -> Vec<Finding> {
    if !config.log.kind.is_on_disk() {
        let detail = "kept in memory: whoever was connected when the gateway stops gets a gap";
        return vec![folder(CheckStatus::Skip, detail, "")];
    }
    let path = match crate::node::log_folder(config) {
        Ok(path) => path,
        Err(error) => return vec![folder(CheckStatus::Fail, format!("{error:#}"), NAME_ONE)],
    };
    match inspect(&path) {
        Ok(found) => vec![place(&path, &found), space(config, &found)],
        Err(error) => vec![unusable(&path, &error)],
    }
}

const NAME_ONE: &str = "name a folder with PREGON_DATA or [log] path";

fn folder(status: CheckStatus, detail: impl ToString, remedy: &str) -> Finding {
    Finding::new("D1", "log folder", status, detail, remedy)
}

fn place(path: &Path, found: &Inspection) -> Finding {
    let path = path.display();
    match found.holder {
        // A gateway that runs while it is examined is the usual case.
        Some(process) => folder(
            CheckStatus::Ok,
            format!("{path}, in use by process {process}: a second gateway needs a folder of its own"),
            "",
        ),
        None if found.exists => folder(CheckStatus::Ok, format!("{path}, {}", size(found.bytes)), ""),
        None => folder(
            CheckStatus::Ok,
            format!("{path}, which the first start makes"),
            "",
        ),
    }
}

fn unusable(path: &Path, error: &io::Error) -> Finding {
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "run pregón as the user whose folder it is, or name another with PREGON_DATA or [log] path"
        }
        _ => NAME_ONE,
    };
    folder(
        CheckStatus::Fail,
        format!("{} cannot be used: {error}", path.display()),
        remedy,
    )
}

/// Room for what is still to come: one more file always, all that retention allows in the end.
fn space(config: &Config, found: &Inspection) -> Finding {
    let log = &config.log;
    let (free, total) = (size(found.free), size(found.total));
    let to_come = log
        .size
        .0
        .saturating_sub(found.bytes)
        .saturating_add(log.segment.0);
    let space =
        |status, detail: String, remedy: &str| Finding::new("D2", "log space", status, detail, remedy);
    let has = format!("{free} free of {total}");
    if found.free < log.segment.0 {
        let detail = format!("{has}, less than one file of the log ({})", size(log.segment.0));
        return space(
            CheckStatus::Fail,
            detail,
            "free some: on a full disk the gateway takes nothing",
        );
    }
    if found.free < to_come {
        let detail = format!("{has}, and the log may grow by {}", size(to_come));
        let remedy =
            "lower [log] size, or give the log a larger disk: on a full one the gateway takes nothing";
        return space(CheckStatus::Warn, detail, remedy);
    }
    let detail = format!(
        "{has}; {} of at most {} used",
        size(found.bytes),
        size(log.size.0)
    );
    space(CheckStatus::Ok, detail, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(bytes: u64, free: u64) -> Inspection {
        Inspection {
            exists: true,
            holder: None,
            bytes: bytes << 20,
            free: free << 20,
            total: 10 << 30,
        }
    }

    #[test]
    fn retention_has_to_fit_on_the_disk() {
        let config = Config::default();
        let status = |bytes, free| space(&config, &found(bytes, free)).status;
        assert_eq!(status(0, 2000), CheckStatus::Ok);
        assert_eq!(status(0, 1000), CheckStatus::Warn);
        assert_eq!(status(1000, 200), CheckStatus::Ok, "most of it is used already");
        assert_eq!(status(1000, 50), CheckStatus::Fail);
    }
}

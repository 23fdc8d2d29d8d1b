//! Where a Redis is: the `url` of `[redis]`, read. Pure; the password never comes back out of it as text.

use percent_encoding::percent_decode_str;

use super::Secret;

/// Redis' own.
const PORT: u16 = 6379;

/// Sentinel's own.
const SENTINEL_PORT: u16 = 26379;

/// Why a text is no address. Says nothing of what the text holds: there may be a password in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressError {
    #[error("it does not begin with a scheme such as `redis://`")]
    Scheme,
    #[error("a host is missing, or a port is not a number from 1 to 65535")]
    Host,
    #[error("only sentinels and clusters have several hosts")]
    SeveralHosts,
    #[error("the database must be a number")]
    Database,
    #[error("a cluster has only database 0")]
    ClusterDatabase,
    #[error("the name of the master is missing: `redis+sentinel://host:26379/MASTER`")]
    Master,
    #[error("user and password must be percent-encoded UTF-8")]
    Login,
    #[error("it takes no parameters after `?`")]
    Parameters,
}

/// How a Redis is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One server.
    Single,
    /// The hosts are sentinels, which know the master of this name.
    Sentinel { master: String },
    /// The hosts are nodes of a cluster.
    Cluster,
}

/// A Redis, a group of sentinels or a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub kind: Kind,
    pub tls: bool,
    /// At least one host with its port.
    pub hosts: Vec<(String, u16)>,
    pub user: Option<String>,
    pub password: Option<Secret>,
    pub database: i64,
}

/// The parts of the text.
struct Parts<'t> {
    scheme: &'t str,
    login: Option<&'t str>,
    hosts: &'t str,
    /// With its slash; empty without one.
    path: &'t str,
}

impl<'t> Parts<'t> {
    fn split(text: &'t str) -> Option<Self> {
        let (scheme, rest) = text.trim().split_once("://")?;
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None => (None, authority),
        };
        Some(Self {
            scheme,
            login,
            hosts,
            path,
        })
    }
}

impl Address {
    /// Reads `redis://…`, `rediss://…` and both with `+sentinel` or `+cluster`.
    pub(crate) fn parse(text: &str) -> Result<Self, AddressError> {
        let parts = Parts::split(text).ok_or(AddressError::Scheme)?;
        let (base, shape) = parts.scheme.split_once('+').unwrap_or((parts.scheme, ""));
        let tls = match base {
            "redis" => false,
            "rediss" => true,
            _ => return Err(AddressError::Scheme),
        };
        let path = match parts.path.split_once('?') {
            Some((path, "protocol=resp3" | "")) => path,
            Some(_) => return Err(AddressError::Parameters),
            None => parts.path,
        };
        let path = path.trim_start_matches('/').trim_end_matches('/');
        let (kind, database) = kind(shape, path)?;
        let port = if matches!(kind, Kind::Sentinel { .. }) {
            SENTINEL_PORT
        } else {
            PORT
        };
        let hosts = hosts(parts.hosts, port)?;
        if hosts.len() > 1 && kind == Kind::Single {
            return Err(AddressError::SeveralHosts);
        }
        let (user, password) = login(parts.login)?;
        Ok(Self {
            kind,
            tls,
            hosts,
            user,
            password,
            database,
        })
    }

    /// `host:port,host:port` for logs.
    pub(crate) fn shown(&self) -> String {
        let hosts = self.hosts.iter().map(|(host, port)| format!("{host}:{port}"));
        hosts.collect::<Vec<_>>().join(",")
    }
}

/// The same address with other hosts; `None` if these are no hosts.
pub(crate) fn with_hosts(text: &str, list: &str) -> Option<String> {
    let parts = Parts::split(text)?;
    hosts(list, PORT).ok()?;
    let login = parts.login.map(|login| format!("{login}@")).unwrap_or_default();
    Some(format!("{}://{login}{list}{}", parts.scheme, parts.path))
}

/// What the scheme's second half and the path say.
fn kind(shape: &str, path: &str) -> Result<(Kind, i64), AddressError> {
    let database = |text: &str| match text {
        "" => Ok(0),
        text => text
            .parse::<u32>()
            .map(i64::from)
            .map_err(|_| AddressError::Database),
    };
    match shape {
        "" => Ok((Kind::Single, database(path)?)),
        "sentinel" => {
            let (master, rest) = path.split_once('/').unwrap_or((path, ""));
            if master.is_empty() {
                return Err(AddressError::Master);
            }
            let master = decoded(master)?;
            Ok((Kind::Sentinel { master }, database(rest)?))
        }
        "cluster" if database(path)? == 0 => Ok((Kind::Cluster, 0)),
        "cluster" => Err(AddressError::ClusterDatabase),
        _ => Err(AddressError::Scheme),
    }
}

fn hosts(list: &str, port: u16) -> Result<Vec<(String, u16)>, AddressError> {
    list.split(',').map(|text| host(text.trim(), port)).collect()
}

/// `host`, `host:port`, `[::1]`, `[::1]:port`.
fn host(text: &str, default: u16) -> Result<(String, u16), AddressError> {
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (name, rest) = rest.split_once(']').ok_or(AddressError::Host)?;
            (name, rest.strip_prefix(':'))
        }
        None => match text.rsplit_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        },
    };
    let strange = |c: char| c.is_whitespace() || c.is_control() || "/?#@".contains(c);
    if name.is_empty() || name.contains(strange) {
        return Err(AddressError::Host);
    }
    let port = match port {
        Some(port) => port.parse().ok().filter(|port| *port > 0),
        None => Some(default),
    };
    Ok((name.to_owned(), port.ok_or(AddressError::Host)?))
}

/// `user:password`, `:password` or `user`.
fn login(text: Option<&str>) -> Result<(Option<String>, Option<Secret>), AddressError> {
    let Some(text) = text else { return Ok((None, None)) };
    let (user, password) = match text.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (text, None),
    };
    let user = decoded(user)?;
    let password = password.filter(|password| !password.is_empty());
    let password = password.map(decoded).transpose()?.map(Secret::new);
    Ok(((!user.is_empty()).then_some(user), password))
}

fn decoded(text: &str) -> Result<String, AddressError> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| AddressError::Login)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn hosts_of(text: &str) -> Vec<(String, u16)> {
        Address::parse(text).unwrap().hosts
    }

    #[test]
    fn one_server_is_read_with_login_and_database() {
        let address = Address::parse("redis://ana:cl%40ve@cache.local:7000/3").unwrap();
        assert_eq!(address.kind, Kind::Single);
        assert_eq!(address.hosts, [("cache.local".to_owned(), 7000)]);
        assert_eq!(
            (address.user.as_deref(), address.database, address.tls),
            (Some("ana"), 3, false)
        );
        assert_eq!(address.password.unwrap().reveal(), "cl@ve");
        let short = Address::parse("rediss://:clave@[::1]?protocol=resp3").unwrap();
        assert_eq!((short.hosts, short.tls), (vec![("::1".to_owned(), 6379)], true));
        assert_eq!(short.user, None);
    }

    #[test]
    fn sentinels_and_clusters_have_several_hosts() {
        let sentinels = Address::parse("redis+sentinel://a,b:1/mymaster/2").unwrap();
        assert_eq!(
            sentinels.kind,
            Kind::Sentinel {
                master: "mymaster".into()
            }
        );
        assert_eq!(sentinels.database, 2);
        assert_eq!(sentinels.shown(), "a:26379,b:1");
        let cluster = Address::parse("rediss+cluster://u:p@a:1,b:2/").unwrap();
        assert_eq!((cluster.kind, cluster.tls), (Kind::Cluster, true));
        assert_eq!(hosts_of("redis+cluster://a").len(), 1);
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        use AddressError as E;
        for (text, error) in [
            ("127.0.0.1:6379", E::Scheme),
            ("http://h", E::Scheme),
            ("redis+x://h", E::Scheme),
            ("redis://", E::Host),
            ("redis://h:0", E::Host),
            ("redis://h:99999", E::Host),
            ("redis://:secreto@h:x", E::Host),
            ("redis://a,b", E::SeveralHosts),
            ("redis://h/one", E::Database),
            ("redis+cluster://h/1", E::ClusterDatabase),
            ("redis+sentinel://h", E::Master),
            ("redis://h?db=1", E::Parameters),
            ("redis://%ff:secreto@h", E::Login),
        ] {
            let found = Address::parse(text).unwrap_err();
            assert_eq!(found, error, "{text}");
            assert!(!format!("{found} {found:?}").contains("secreto"));
        }
        let good = Address::parse("redis://:secreto@h").unwrap();
        assert!(!format!("{good:?} {}", good.shown()).contains("secreto"));
    }

    #[test]
    fn hosts_are_replaced_and_everything_else_stays() {
        let with = |text: &str| with_hosts(text, "b:2");
        assert_eq!(with("rediss://u:p@a:1/3").as_deref(), Some("rediss://u:p@b:2/3"));
        assert_eq!(with("redis://").as_deref(), Some("redis://b:2"));
        assert_eq!(with_hosts("redis://a", "b:x"), None);
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in "(redis(s|\\+sentinel|\\+cluster)?://)?[a-z@:/?,%\\[\\]0-9]{0,24}") {
            let _ = (Address::parse(&text), with_hosts(&text, &text));
        }
    }
}

//! Connections: to one server, to the master that sentinels name, to a node of a cluster or to the cluster as a whole.
//!
//! None of them reconnects by itself (the cluster's may, among its nodes, which loses nothing of a stream).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion,
    RedisConnectionInfo, RedisFuture, RedisResult, TlsCertificates, TlsMode, Value,
};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::retry::Lost;
use crate::config::address::{Address, AddressError, Kind};
use crate::config::{self, Secret};

/// A server that is there answers within this time, TLS and login included.
pub(super) const CONNECT: Duration = Duration::from_secs(3);

/// A sentinel that does not answer at once is passed over for the next.
const ASK: Duration = Duration::from_secs(1);

/// Host and port.
pub(super) type Host = (String, u16);

/// Why a source of Redis cannot be built. `pregon check` finds these first.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupError {
    #[error("redis.url is missing")]
    NoUrl,
    #[error("redis.url: {0}")]
    Address(#[from] AddressError),
    #[error("redis.ca_file: {0}")]
    Authorities(#[from] AuthoritiesError),
}

/// Why a file of authorities is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthoritiesError {
    #[error("cannot be read: {0}")]
    Unreadable(#[from] std::io::Error),
    #[error("holds no PEM certificate")]
    Empty,
}

/// The bytes of a file that holds at least one certificate.
pub(crate) fn authorities(file: &str) -> Result<Vec<u8>, AuthoritiesError> {
    let bytes = std::fs::read(file)?;
    match CertificateDer::pem_slice_iter(&bytes).next() {
        Some(Ok(_)) => Ok(bytes),
        _ => Err(AuthoritiesError::Empty),
    }
}

/// Makes the connections of one `[redis]`.
pub(super) struct Connector {
    address: Address,
    password: Option<Secret>,
    sentinel_password: Option<Secret>,
    authorities: Option<Vec<u8>>,
}

impl Connector {
    pub(super) fn build(redis: &config::Redis) -> Result<Self, SetupError> {
        let url = redis.url.as_ref().ok_or(SetupError::NoUrl)?;
        let address = Address::parse(url.reveal())?;
        let authorities = redis.ca_file.as_deref().map(authorities).transpose()?;
        Ok(Self {
            password: redis.password.clone().or_else(|| address.password.clone()),
            sentinel_password: redis.sentinel_password.clone(),
            authorities,
            address,
        })
    }

    /// Its hosts, for logs.
    pub(super) fn shown(&self) -> String {
        self.address.shown()
    }

    /// The server, the master that the sentinels name, or the nodes of the cluster.
    pub(super) async fn hosts(&self) -> Result<Vec<Host>, Lost> {
        Ok(match &self.address.kind {
            Kind::Sentinel { master } => vec![self.master(master).await?],
            Kind::Single | Kind::Cluster => self.address.hosts.clone(),
        })
    }

    /// The greeting with the login, for who speaks to the server without the driver.
    pub(super) fn hello(&self) -> Cmd {
        let mut hello = redis::cmd("HELLO");
        hello.arg(3);
        if let Some(password) = &self.password {
            let user = self.address.user.as_deref().unwrap_or("default");
            hello.arg("AUTH").arg(user).arg(password.reveal());
        }
        hello
    }

    /// What such a connection trusts, where it is encrypted: the named authorities, or the system's.
    pub(super) fn tls(&self) -> io::Result<Option<ClientConfig>> {
        if !self.address.tls {
            return Ok(None);
        }
        let mut trusted = RootCertStore::empty();
        match &self.authorities {
            Some(pem) => {
                for certificate in CertificateDer::pem_slice_iter(pem) {
                    let certificate = certificate.map_err(io::Error::other)?;
                    trusted.add(certificate).map_err(io::Error::other)?;
                }
            }
            None => {
                trusted.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?;
        Ok(Some(
            builder.with_root_certificates(trusted).with_no_client_auth(),
        ))
    }

    /// A connection to the server, the master or any node of the cluster, and where that is.
    pub(super) async fn node(
        &self,
        config: AsyncConnectionConfig,
    ) -> Result<(MultiplexedConnection, Host), Lost> {
        let config = config.set_connection_timeout(Some(CONNECT));
        let mut failed = Lost::Closed;
        for host in self.hosts().await? {
            match self.open(&host, &config).await {
                Ok(connection) => return Ok((connection, host)),
                Err(error) => failed = error.into(),
            }
        }
        Err(failed)
    }

    /// A connection for commands on keys, whose answers may take `patience`.
    pub(super) async fn keyed(&self, patience: Duration) -> Result<Keyed, Lost> {
        if self.address.kind != Kind::Cluster {
            let config = AsyncConnectionConfig::new().set_response_timeout(Some(patience));
            return Ok(Keyed::Node(self.node(config).await?.0));
        }
        let nodes = self.address.hosts.iter().map(|host| self.info(host));
        let nodes = nodes.collect::<RedisResult<Vec<_>>>()?;
        let mut builder = ClusterClient::builder(nodes)
            .use_protocol(ProtocolVersion::RESP3)
            .connection_timeout(CONNECT)
            .response_timeout(patience)
            .tcp_settings(TcpSettings::default().set_nodelay(true));
        if self.address.tls {
            builder = builder.tls(TlsMode::Secure).certs(self.certificates());
        }
        // A cluster without a node would be looked for for ever.
        let connection = tokio::time::timeout(CONNECT * 2, builder.build()?.get_async_connection()).await;
        Ok(Keyed::Cluster(
            connection.map_err(|_| Lost::Silent(CONNECT * 2))??,
        ))
    }

    /// Whether the sentinels name another master than this by now. One that was cut off from them would go on in silence.
    pub(super) async fn moved(&self, from: &Host) -> bool {
        match &self.address.kind {
            Kind::Sentinel { master } => self.master(master).await.is_ok_and(|now| now != *from),
            Kind::Single | Kind::Cluster => false,
        }
    }

    /// Asks the sentinels in turn.
    async fn master(&self, name: &str) -> Result<Host, Lost> {
        let mut failed = Lost::Closed;
        for sentinel in &self.address.hosts {
            match self.ask(sentinel, name).await {
                Ok(Some(host)) => return Ok(host),
                Ok(None) => failed = Lost::UnknownMaster(name.to_owned()),
                Err(error) => failed = error.into(),
            }
        }
        Err(failed)
    }

    async fn ask(&self, sentinel: &Host, master: &str) -> RedisResult<Option<Host>> {
        let mut login = RedisConnectionInfo::default().set_skip_set_lib_name();
        if let Some(password) = &self.sentinel_password {
            login = login.set_password(password.reveal());
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ASK))
            .set_response_timeout(Some(ASK));
        let client = self.client(self.at(sentinel)?.set_redis_settings(login))?;
        let mut connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        let mut question = redis::cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(master);
        question.query_async(&mut connection).await
    }

    async fn open(&self, host: &Host, config: &AsyncConnectionConfig) -> RedisResult<MultiplexedConnection> {
        let client = self.client(self.info(host)?)?;
        client.get_multiplexed_async_connection_with_config(config).await
    }

    fn client(&self, info: ConnectionInfo) -> RedisResult<Client> {
        if self.address.tls {
            Client::build_with_tls(info, self.certificates())
        } else {
            Client::open(info)
        }
    }

    fn info(&self, host: &Host) -> RedisResult<ConnectionInfo> {
        // The name of the library would cost a right (`CLIENT`) and tells nobody anything.
        let mut login = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP3)
            .set_skip_set_lib_name()
            .set_db(self.address.database);
        if let Some(user) = &self.address.user {
            login = login.set_username(user);
        }
        if let Some(password) = &self.password {
            login = login.set_password(password.reveal());
        }
        Ok(self.at(host)?.set_redis_settings(login))
    }

    fn at(&self, (host, port): &Host) -> RedisResult<ConnectionInfo> {
        let address = if self.address.tls {
            ConnectionAddr::TcpTls {
                host: host.clone(),
                port: *port,
                insecure: false,
                tls_params: None,
            }
        } else {
            ConnectionAddr::Tcp(host.clone(), *port)
        };
        let info = address.into_connection_info()?;
        Ok(info.set_tcp_settings(TcpSettings::default().set_nodelay(true)))
    }

    fn certificates(&self) -> TlsCertificates {
        TlsCertificates {
            client_tls: None,
            root_cert: self.authorities.clone(),
        }
    }
}

/// A connection that finds the node of a key.
pub(super) enum Keyed {
    Node(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl ConnectionLike for Keyed {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Node(node) => node.req_packed_command(cmd),
            Self::Cluster(cluster) => cluster.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a redis::Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Node(node) => node.req_packed_commands(pipeline, offset, count),
            Self::Cluster(cluster) => cluster.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Node(node) => node.get_db(),
            Self::Cluster(cluster) => cluster.get_db(),
        }
    }
}

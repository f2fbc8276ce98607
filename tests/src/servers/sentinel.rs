//! A Redis with a replica, and a Sentinel that promotes it when the primary is gone.

use std::{fs, time::Duration};

use anyhow::bail;

use crate::{
    processes::{
        folder::Folder,
        process::{Launch, Process, on_free_ports, ready},
    },
    servers::redis::{Redis, command},
};

/// The name that the Sentinel knows the primary by.
const SERVICE: &str = "gateway";
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Three servers on the loopback address, each ours alone.
#[derive(Debug)]
pub struct Watched {
    pub primary: Redis,
    pub replica: Redis,
    port: u16,
    _sentinel: Process,
    _folder: Folder,
}

impl Watched {
    /// Starts them; the replica follows the primary, and the Sentinel knows both, when this
    /// returns. The primary counts as gone after a second of silence.
    pub async fn start() -> anyhow::Result<Self> {
        let (primary, replica) = tokio::try_join!(Redis::start_temporary(), Redis::start_temporary())?;
        let folder = Folder::temporary()?;
        // A replica would otherwise wait for others to come.
        primary.command(&["CONFIG", "SET", "repl-diskless-sync-delay", "0"]).await?;
        let [host, primary_port] = ["127.0.0.1".to_owned(), primary.port().to_string()];
        replica.command(&["REPLICAOF", &host, &primary_port]).await?;
        let started = on_free_ports(async |[port]| {
            // The Sentinel keeps its own state in this file.
            let configuration = folder.path().join("sentinel.conf");
            fs::write(
                &configuration,
                format!(
                    "port {port}\nbind 127.0.0.1\nsentinel monitor {SERVICE} {host} {primary_port} 1\n\
                     sentinel down-after-milliseconds {SERVICE} 1000\nsentinel failover-timeout {SERVICE} 10000\n"
                ),
            )?;
            let launch = Launch::new("sentinel", "redis-server", folder.path()).arg(&configuration).arg("--sentinel");
            let process = launch.spawn()?;
            ready(&process, READY_WITHIN, async || knows_the_replica(port, &replica).await).await?;
            Ok((process, port))
        });
        let (sentinel, port) = started.await?;
        Ok(Self { primary, replica, port, _sentinel: sentinel, _folder: folder })
    }

    /// What both programs are told as `REDIS_URL`.
    pub fn url(&self) -> String {
        format!("redis-sentinel://127.0.0.1:{}?sentinelServiceName={SERVICE}", self.port)
    }

    /// Lets the replica learn nothing more: what the primary takes from now on dies with it.
    pub async fn part(&self) -> anyhow::Result<()> {
        // There is no such user, so the primary refuses it when it comes back.
        self.replica.command(&["CONFIG", "SET", "masteruser", "nobody"]).await?;
        self.replica.command(&["CONFIG", "SET", "masterauth", "nothing"]).await?;
        self.primary.command(&["CLIENT", "KILL", "TYPE", "replica"]).await?;
        Ok(())
    }

    /// The role that the replica says it has.
    pub async fn role_of_the_replica(&self) -> anyhow::Result<String> {
        let role = self.replica.command(&["ROLE"]).await?;
        Ok(role.lines().next().unwrap_or_default().to_owned())
    }
}

async fn knows_the_replica(port: u16, replica: &Redis) -> Result<(), String> {
    let check = async {
        let known = command(port, &["SENTINEL", "REPLICAS", SERVICE]).await?;
        let followed = replica.command(&["INFO", "replication"]).await?;
        match known.contains(&replica.address()) && followed.contains("master_link_status:up") {
            true => Ok(()),
            false => bail!("the replica is not known yet"),
        }
    };
    check.await.map_err(|error| format!("{error:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eventually;

    #[tokio::test]
    async fn a_replica_takes_the_place_of_a_dead_primary_without_what_it_never_learnt() {
        let mut watched = Watched::start().await.expect("servers");
        watched.primary.command(&["SET", "key", "early"]).await.expect("a write");
        eventually!(watched.replica.command(&["GET", "key"]).await.expect("a value"), |value| value == "early");
        watched.part().await.expect("a replica that lags");
        watched.primary.command(&["SET", "key", "late"]).await.expect("a write");
        watched.primary.kill().await;
        eventually!(watched.role_of_the_replica().await.unwrap_or_default(), |role| role == "master");
        assert_eq!(watched.replica.command(&["GET", "key"]).await.expect("a value"), "early");
    }
}

//! Certificates from an ACME authority: had, renewed, kept, and done without while there is none.

use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt, path::PathBuf, sync::Arc, time::Duration};

use http::Method;
use reqwest::ClientBuilder;
use shared::redis::{ACME_TURN, ACME_TURN_SECONDS, acme_challenge_key};
use testbed::{
    clients::{
        http::{Ask, client, shown_certificate},
        load::Load,
    },
    eventually,
    people::{Edge, Token},
    processes::{
        folder::Folder,
        process::free_port,
        programs::{Plane, Program, environment},
    },
    servers::pebble::Pebble,
    stack::Stack,
};

const NAME: &str = "gateway.test";
/// How long certificates last that are renewed while a test runs: another is ordered after two
/// thirds of it.
const SOON_SECONDS: u64 = 24;
/// How long those last that are not.
const LONG_SECONDS: u64 = 24 * 3_600;

fn port() -> u16 {
    free_port().expect("a port")
}

fn folder() -> Folder {
    Folder::temporary().expect("a folder")
}

/// An edge beside those of the stack, with certificates by ACME.
struct Certified {
    plane: Plane,
    tls: SocketAddr,
    /// Where it keeps what it is given.
    folder: PathBuf,
}

impl Certified {
    async fn start(stack: &Stack, pebble: &Pebble, folder: &Folder, http_port: u16) -> Self {
        let logs = folder.path();
        let folder = logs.join("acme");
        fs::create_dir_all(&folder).expect("a folder");
        let name = format!("edge-{http_port}");
        let tls = SocketAddr::from(([127, 0, 0, 1], port()));
        let environment = environment([
            ("REDIS_URL", &stack.redis.url()),
            ("ZENZEFI_URL", &stack.standin.http_url()),
            ("PUBLIC_ORIGIN", &format!("https://{NAME}:{}", tls.port())),
            ("EDGE_TLS_LISTEN", &tls.to_string()),
            ("EDGE_THREADS", "1"),
            ("HTTPS_REDIRECT", "true"),
            ("DRAIN_SECONDS", "1"),
            ("UPGRADE_SOCKET", &logs.join(format!("{name}.socket")).to_string_lossy()),
            ("ACME_DIRECTORY", &pebble.directory()),
            ("ACME_CA_FILE", &pebble.ca_file().to_string_lossy()),
            ("ACME_FOLDER", &folder.to_string_lossy()),
        ]);
        let plane = Plane::start(Program::EdgeProxy, &name, logs, [http_port, port()], &environment);
        Self { plane: plane.await.expect("an edge"), tls, folder }
    }

    async fn start_again(&mut self) {
        self.plane.start_again().await.expect("a start");
    }

    /// The certificate that it shows, if it has one.
    async fn shown(&self) -> Option<Vec<u8>> {
        shown_certificate(self.tls, NAME, client()).await
    }

    fn by_name(&self, stack: &Stack, builder: ClientBuilder) -> Edge {
        let http = builder.resolve(NAME, self.tls).build().expect("a client");
        stack.edge().by(&format!("https://{NAME}:{}", self.tls.port()), http)
    }

    async fn orders(&self, outcome: &str) -> f64 {
        self.plane.metric("edge_acme_orders_total", &format!("\"{outcome}\"")).await
    }

    fn log(&self) -> String {
        fs::read_to_string(self.plane.process().log()).expect("a log")
    }

    /// The files whose names begin so.
    fn kept(&self, kind: &str) -> Vec<PathBuf> {
        let files = fs::read_dir(&self.folder).expect("a folder");
        let files = files.map(|file| file.expect("an entry").path());
        files.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(kind))).collect()
    }

    fn removes(&self, kind: &str) {
        let kept = self.kept(kind);
        assert_eq!(kept.len(), 1, "{kind}: {kept:?}");
        fs::remove_file(&kept[0]).expect("removed");
    }
}

#[tokio::test]
async fn two_edges_get_certificates_whichever_the_authority_asks_and_renew_them_in_time() {
    let stack = Stack::start().await;
    let http_port = port();
    let pebble = Pebble::start(http_port, SOON_SECONDS).await.expect("an authority");
    let folders = [folder(), folder()];
    // All that the authority asks reaches the first.
    let mut first = Certified::start(&stack, &pebble, &folders[0], http_port).await;
    let mut second = Certified::start(&stack, &pebble, &folders[1], port()).await;
    let both = async || (first.shown().await, second.shown().await);
    let had = eventually!(both().await, |had| had.0.is_some() && had.1.is_some());
    assert_ne!(had.0, had.1, "each has its own");

    let alice = stack.control.user("alice").with_credits(100).await;
    let tokens: Arc<[Token]> = stack.seeds(&alice, 4).await.expect("tokens").into();
    let kept = [first.by_name(&stack, client())];
    let anew = [first.by_name(&stack, client().http1_only().pool_max_idle_per_host(0))];
    let mut ticks = kept[0].with(&tokens[0], Method::GET, "/sse?every_ms=50").send().await.expect("a stream");
    let loads = [Load::start(&kept, &tokens, 4, 1), Load::start(&anew, &tokens, 4, 1)];
    let renews = |now: &(Option<Vec<u8>>, Option<Vec<u8>>)| now.0 != had.0 && now.1 != had.1;
    eventually!(within Duration::from_secs(SOON_SECONDS); both().await, |now| renews(now));
    for load in loads {
        let tally = load.stop().await;
        assert!(tally.total() > 0 && tally.total() == tally.of(200), "{tally:?}");
    }
    assert!(ticks.chunk().await.expect("the stream goes on").is_some());
    drop(ticks);
    assert!(first.plane.metric("edge_certificate_expires_in_seconds", "").await > 0.0);

    for edge in [&mut first, &mut second] {
        assert_eq!(edge.orders("failed").await, 0.0, "{}", edge.log());
        assert!(edge.plane.stop().await.expect("a graceful stop").success());
    }
    stack.finish().await;
}

#[tokio::test]
async fn what_acme_has_given_is_kept_to_oneself_and_not_ordered_again_by_the_next_process() {
    let stack = Stack::start().await;
    let http_port = port();
    let pebble = Pebble::start(http_port, LONG_SECONDS).await.expect("an authority");
    let folder = folder();
    let (mut edge, twin) = tokio::join!(
        Certified::start(&stack, &pebble, &folder, http_port),
        Certified::start(&stack, &pebble, &folder, port())
    );
    let had = eventually!(edge.shown().await, |shown| shown.is_some());
    eventually!(twin.shown().await, |shown| *shown == had);
    let ordered = async |outcome| edge.orders(outcome).await + twin.orders(outcome).await;
    assert_eq!((ordered("issued").await, ordered("failed").await), (1.0, 0.0));
    drop(twin);
    eventually!(edge.kept("attempts").len(), |attempts| *attempts == 0);
    let kept = edge.kept("");
    assert_eq!(kept.len(), 2, "an account and a certificate: {kept:?}");
    for path in kept {
        let mode = fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
    }

    let [abandoned, begun] = ["certificate-1.new", "certificate-2.new"].map(|name| edge.folder.join(name));
    for path in [&abandoned, &begun] {
        fs::write(path, "half of").expect("written");
    }
    let file = fs::File::options().write(true).open(&abandoned).expect("a file");
    let written = file.metadata().and_then(|file| file.modified()).expect("a time");
    file.set_modified(written - Duration::from_hours(2)).expect("another time");
    edge.start_again().await;
    eventually!(abandoned.exists(), |exists| !exists);
    assert!(begun.exists(), "another process may be writing it");
    assert_eq!(edge.shown().await, had);
    let mut before = edge.plane.start_beside().expect("a process");
    assert!(before.wait().await.success(), "{}", before.quote());
    assert_eq!(edge.shown().await, had);
    for outcome in ["issued", "failed"] {
        assert_eq!(edge.orders(outcome).await, 0.0, "{outcome}");
    }

    let challenge = "/.well-known/acme-challenge/unknown";
    let http = client().build().expect("a client");
    let unknown = http.get(format!("{}{challenge}", edge.plane.url())).answer().await;
    assert_eq!(unknown.status, 404, "{unknown:?}");
    let posted = http.post(format!("{}{challenge}", edge.plane.url())).answer().await;
    assert_eq!(posted.status, 405, "{posted:?}");
    let elsewhere = stack.edge().get(challenge).answer().await;
    assert_eq!(elsewhere.status, 401, "where there is no ACME it is the upstream's path: {elsewhere:?}");
    assert!(edge.plane.stop().await.expect("a graceful stop").success());
    stack.finish().await;
}

#[tokio::test]
async fn while_one_edge_orders_no_other_does() {
    let stack = Stack::start().await;
    let (http_port, folder) = (port(), folder());
    let pebble = Pebble::start(http_port, LONG_SECONDS).await.expect("an authority");
    let lasts = ACME_TURN_SECONDS.to_string();
    stack.redis.command(&["SET", ACME_TURN, "another's", "EX", &lasts]).await.expect("a turn");
    let monitor = stack.redis.monitor().await.expect("a monitor");
    let edge = Certified::start(&stack, &pebble, &folder, http_port).await;
    let looks = async || {
        let commands = monitor.commands(&stack.redis).await.expect("commands");
        commands.iter().filter(|command| command.contains(ACME_TURN)).count()
    };
    eventually!(looks().await, |looks| *looks >= 2);
    assert_eq!(edge.kept(""), Vec::<PathBuf>::new());
    stack.redis.command(&["DEL", ACME_TURN]).await.expect("its end");
    eventually!(edge.shown().await, |shown| shown.is_some());
    eventually!(stack.redis.command(&["EXISTS", ACME_TURN]).await.expect("an answer"), |exists| exists == "0");
    drop(edge);
    stack.finish().await;
}

#[tokio::test]
async fn guessed_challenges_ask_redis_once_each_within_a_limit_per_minute() {
    let stack = Stack::start().await;
    let (http_port, folder) = (port(), folder());
    let pebble = Pebble::start(http_port, LONG_SECONDS).await.expect("an authority");
    let edge = Certified::start(&stack, &pebble, &folder, http_port).await;
    eventually!(edge.shown().await, |shown| shown.is_some());
    let monitor = stack.redis.monitor().await.expect("a monitor");
    let http = client().build().expect("a client");
    let guess = async |challenge: &str| {
        let url = format!("{}/.well-known/acme-challenge/{challenge}", edge.plane.url());
        http.get(url).answer().await.status
    };
    for _ in 0..30 {
        assert_eq!(guess("the-same").await, 404);
    }
    let mut others = Vec::new();
    for number in 0..30 {
        others.push(guess(&format!("another-{number}")).await);
    }
    assert_eq!((others[0], others[29]), (404, 429), "{others:?}");
    assert_eq!(guess("the-same").await, 404);
    let commands = monitor.commands(&stack.redis).await.expect("commands");
    let asked = |key: &str| commands.iter().filter(|command| command.contains(key)).count();
    assert_eq!(asked(&acme_challenge_key("the-same")), 1);
    assert!(asked("acme:{another-") < 25, "{others:?}");
    drop(edge);
    stack.finish().await;
}

#[tokio::test]
async fn an_authority_is_told_whom_it_writes_to_from_now_on() {
    let stack = Stack::start().await;
    let (http_port, folder) = (port(), folder());
    let pebble = Pebble::start(http_port, LONG_SECONDS).await.expect("an authority");
    let mut edge = Certified::start(&stack, &pebble, &folder, http_port).await;
    let has_ordered = async |edge: &Certified| {
        eventually!(edge.shown().await, |shown| shown.is_some());
        let turn = async || stack.redis.command(&["EXISTS", ACME_TURN]).await.expect("an answer");
        eventually!(turn().await, |exists| exists == "0");
    };
    has_ordered(&edge).await;
    let updates = || pebble.log().matches("POST /my-account/").count();
    for (is_new, contact) in [(true, "ops@gateway.test"), (false, "ops@gateway.test"), (true, "others@gateway.test")] {
        let before = updates();
        edge.plane.configure("ACME_CONTACT", contact);
        edge.removes("certificate");
        edge.start_again().await;
        has_ordered(&edge).await;
        // Told once may be asked twice: Pebble refuses some good nonces, so that clients learn to
        // ask again.
        assert_eq!(updates() > before, is_new, "{}", pebble.log());
        let kept = fs::read_to_string(&edge.kept("account")[0]).expect("an account");
        assert!(kept.contains(contact), "it is told once");
    }
    drop(edge);
    stack.finish().await;
}

#[tokio::test]
async fn a_new_name_takes_the_certificate_of_no_other_away() {
    let stack = Stack::start().await;
    let (http_port, folder) = (port(), folder());
    let mut pebble = Pebble::start(http_port, LONG_SECONDS).await.expect("an authority");
    let mut edge = Certified::start(&stack, &pebble, &folder, http_port).await;
    let had = eventually!(edge.shown().await, |shown| shown.is_some());
    pebble.kill().await;
    let tls = edge.tls.port();
    edge.plane.configure("PUBLIC_ORIGIN", &format!("https://{NAME}:{tls},https://new.test:{tls}"));
    let mut before = edge.plane.start_beside().expect("a process");
    assert!(before.wait().await.success(), "{}", before.quote());
    assert_eq!(edge.shown().await, had);
    eventually!(edge.orders("failed").await, |failed| *failed == 1.0);
    assert_eq!(edge.shown().await, had);
    assert_eq!(edge.plane.metric("edge_certificate_expires_in_seconds", "").await, 0.0, "the one for both is missing");

    pebble.start_again().await.expect("an authority");
    edge.removes("attempts");
    edge.removes("account");
    edge.start_again().await;
    let both = eventually!(edge.shown().await, |shown| shown.is_some() && *shown != had);
    assert_eq!(shown_certificate(edge.tls, "new.test", client()).await, both);
    drop(edge);
    stack.finish().await;
}

#[tokio::test]
async fn a_process_takes_over_once_it_has_a_certificate() {
    let stack = Stack::start().await;
    let (http_port, folder) = (port(), folder());
    let pebble = Pebble::start(http_port, LONG_SECONDS).await.expect("an authority");
    let mut edge = Certified::start(&stack, &pebble, &folder, http_port).await;
    let had = eventually!(edge.shown().await, |shown| shown.is_some());
    eventually!(edge.kept("attempts").len(), |attempts| *attempts == 0);
    edge.removes("certificate");
    let lasts = ACME_TURN_SECONDS.to_string();
    stack.redis.command(&["SET", ACME_TURN, "another's", "EX", &lasts]).await.expect("a turn");
    let monitor = stack.redis.monitor().await.expect("a monitor");
    let mut before = edge.plane.start_beside().expect("a process");
    let looks = async || {
        let commands = monitor.commands(&stack.redis).await.expect("commands");
        commands.iter().filter(|command| command.contains(ACME_TURN)).count()
    };
    eventually!(looks().await, |looks| *looks >= 2);
    for _ in 0..20 {
        assert_eq!(edge.shown().await, had, "who has one serves");
    }
    stack.redis.command(&["DEL", ACME_TURN]).await.expect("its end");
    assert!(before.wait().await.success(), "{}", before.quote());
    let anew = edge.shown().await;
    assert!(anew.is_some() && anew != had, "{}", edge.log());
    drop(edge);
    stack.finish().await;
}

#[tokio::test]
async fn an_authority_that_fails_ends_no_edge_and_is_not_asked_sooner_for_a_restart() {
    let stack = Stack::start().await;
    let http_port = port();
    let mut pebble = Pebble::start(http_port, LONG_SECONDS).await.expect("an authority");
    pebble.kill().await;
    let folders = [folder(), folder()];
    let mut edge = Certified::start(&stack, &pebble, &folders[0], http_port).await;
    eventually!(edge.orders("failed").await, |failed| *failed == 1.0);
    assert!(edge.log().contains("Connection refused"), "{}", edge.log());
    assert_eq!(edge.shown().await, None);
    assert_eq!(edge.plane.metric("edge_certificate_expires_in_seconds", "").await, 0.0);
    let handshakes = async |stage| edge.plane.metric("edge_tls_handshakes_total", &format!("\"{stage}\"")).await;
    assert!(handshakes("begun").await > handshakes("established").await, "who finds no certificate is counted");
    assert!(!edge.log().contains("handshake"), "and not logged: {}", edge.log());
    let health = client().build().expect("a client").get(format!("{}/health", edge.plane.url()));
    let health = health.header("Host", format!("{NAME}:{}", edge.tls.port())).answer().await;
    assert_eq!(health.status, 200, "{health:?}");

    pebble.start_again().await.expect("an authority");
    edge.start_again().await;
    eventually!(edge.log(), |log| log.contains("ACME orders are paused after failures"));
    assert_eq!(edge.orders("failed").await + edge.orders("issued").await, 0.0);
    edge.removes("attempts");
    edge.start_again().await;
    let had = eventually!(edge.shown().await, |shown| shown.is_some());

    // It has forgotten the account: that is made anew with the next order.
    edge.removes("certificate");
    pebble.start_again().await.expect("an authority");
    edge.start_again().await;
    eventually!(edge.orders("failed").await, |failed| *failed == 1.0);
    edge.removes("attempts");
    edge.start_again().await;
    let again = eventually!(edge.shown().await, |shown| shown.is_some());
    assert_ne!(again, had);

    // It reaches nobody at the port that it asks at.
    drop(edge);
    let unreached = Certified::start(&stack, &pebble, &folders[1], port()).await;
    eventually!(unreached.orders("failed").await, |failed| *failed == 1.0);
    assert!(unreached.log().contains("acme:error:connection"), "{}", unreached.log());
    stack.finish().await;
}

//! The two programs as an operator meets them: configuration, migrations, documents, start and
//! stop.

use std::{
    fs,
    process::{ExitStatus, Output},
};

use http::Method;
use nix::sys::signal::Signal;
use testbed::{
    clients::raw_http::Wire,
    eventually,
    processes::{
        folder::Folder,
        process::built_program,
        programs::{Environment, Plane, environment},
    },
    servers::postgres::Database,
    stack::Stack,
};
use tokio::process::Command;

async fn run(program: &str, args: &[&str], variables: &Environment) -> Output {
    let mut command = Command::new(built_program(program).expect("a built program"));
    // A folder without a .env above it.
    command.args(args).env_clear().envs(variables).current_dir("/").kill_on_drop(true);
    command.output().await.expect("the program runs")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

fn control() -> Environment {
    environment([
        ("DATABASE_URL", "postgres://postgres@127.0.0.1:1/none"),
        ("REDIS_URL", "redis://127.0.0.1:1"),
        ("SECRET_KEY", "f0e1d2c3b4a5968778695a4b3c2d1e0f"),
        ("PUBLIC_ORIGIN", "https://gateway.test"),
    ])
}

fn edge() -> Environment {
    environment([
        ("REDIS_URL", "redis://127.0.0.1:1"),
        ("ZENZEFI_URL", "https://zenzefi.test"),
        ("PUBLIC_ORIGIN", "https://gateway.test"),
    ])
}

#[tokio::test]
async fn a_wrong_or_missing_option_is_named_and_never_repeated() {
    for (program, sound, option, wrong) in [
        ("control-api", control(), "DATABASE_URL", None),
        ("control-api", control(), "DATABASE_URL", Some("mysql://root:hunter2000@db")),
        ("control-api", control(), "REDIS_URL", None),
        ("control-api", control(), "SECRET_KEY", None),
        ("control-api", control(), "SECRET_KEY", Some("less-than-32-bytes")),
        ("control-api", control(), "SECRET_KEY", Some("your-secret-key-change-me-0123456789")),
        ("control-api", control(), "PUBLIC_ORIGIN", None),
        ("control-api", control(), "TOKEN_PRICE_24H", Some("-1.00")),
        ("edge-proxy", edge(), "REDIS_URL", None),
        ("edge-proxy", edge(), "ZENZEFI_URL", Some("https://user:hunter2000@zenzefi.test")),
        ("edge-proxy", edge(), "REDIS_URL", Some("http://user:hunter2000@redis.test")),
        ("edge-proxy", edge(), "PUBLIC_ORIGIN", None),
        ("edge-proxy", edge(), "ZENZEFI_BASIC_AUTH", Some("hunter2000")),
    ] {
        let sane = run(program, &["check-config"], &sound).await;
        assert!(sane.status.success(), "{program}: {}", text(&sane));
        let mut broken = sound;
        match wrong {
            Some(value) => drop(broken.insert(option.to_owned(), value.to_owned())),
            None => drop(broken.remove(option)),
        }
        for command in ["check-config", "serve"] {
            let refused = run(program, &[command], &broken).await;
            let said = text(&refused);
            assert_eq!(refused.status.code(), Some(2), "{program} {command} {option}: {said}");
            let names_it = said.contains(option) || said.contains(&option.to_lowercase().replace('_', "-"));
            assert!(names_it, "{program} {command} does not name {option}: {said}");
            assert!(!wrong.is_some_and(|value| said.contains(value)), "{program} {command} repeats {option}: {said}");
        }
    }
}

#[tokio::test]
async fn a_secret_may_stand_in_a_file_and_is_never_repeated() {
    let folder = Folder::temporary().expect("a folder");
    let file = folder.path().join("secret");
    for (program, sound, option) in [
        ("control-api", control(), "SECRET_KEY"),
        ("control-api", control(), "DATABASE_URL"),
        ("edge-proxy", edge(), "REDIS_URL"),
    ] {
        let mut by_file = sound;
        let secret = by_file.remove(option).expect("an option");
        by_file.insert(format!("{option}_FILE"), file.to_string_lossy().into_owned());
        fs::write(&file, format!("{secret}\n")).expect("a file");
        let sane = run(program, &["check-config"], &by_file).await;
        assert!(sane.status.success(), "{program} {option}: {}", text(&sane));
        let help = run(program, &["serve", "--help"], &by_file).await;
        assert!(!text(&help).contains(&secret), "{program} shows {option} by its help");

        let both = [by_file.clone(), environment([(option, &secret)])].into_iter().flatten().collect();
        fs::remove_file(&file).expect("the file");
        for (wrong, why) in [(both, "both set"), (by_file, "cannot be read")] {
            let refused = run(program, &["check-config"], &wrong).await;
            let said = text(&refused);
            assert_eq!(refused.status.code(), Some(2), "{program} {option}: {said}");
            assert!(said.contains(option) && said.contains(why) && !said.contains(&secret), "{said}");
        }
    }
}

#[tokio::test]
async fn a_slip_of_the_pen_is_told_with_what_was_meant() {
    for (program, sound) in [("control-api", control()), ("edge-proxy", edge())] {
        let misspelled = [sound, environment([("TOKEN_HOUR_SECOND", "hunter2000")])].into_iter().flatten().collect();
        let said = text(&run(program, &["check-config"], &misspelled).await);
        let expected = "TOKEN_HOUR_SECOND is set, and is no option: was TOKEN_HOUR_SECONDS meant?";
        assert!(said.contains(expected) && !said.contains("hunter2000"), "{program}: {said}");
    }
}

#[tokio::test]
async fn the_schema_goes_down_and_up_again() {
    let database = Database::create().await.expect("a database");
    let mut variables = control();
    variables.insert("DATABASE_URL".to_owned(), database.url().to_owned());
    let tables = async || {
        let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tablename IN ('users', 'access_tokens', 'outbox')";
        database.query(tables).await.expect("a count")
    };
    assert_eq!(tables().await, "3");
    let status = run("control-api", &["migrate", "status"], &variables).await;
    assert!(status.status.success(), "{}", text(&status));
    while tables().await != "0" {
        let down = run("control-api", &["migrate", "down"], &variables).await;
        assert!(down.status.success(), "{}", text(&down));
    }
    // Replicas that start together migrate together.
    let up = async || run("control-api", &["migrate", "up"], &variables).await;
    for up in <[Output; 3]>::from(tokio::join!(up(), up(), up())) {
        assert!(up.status.success(), "{}", text(&up));
    }
    assert_eq!(tables().await, "3");
}

#[tokio::test]
async fn the_printed_document_is_the_served_one() {
    let stack = Stack::start().await;
    let printed = run("control-api", &["openapi"], &Environment::new()).await;
    assert!(printed.status.success(), "{}", text(&printed));
    let printed: serde_json::Value = serde_json::from_slice(&printed.stdout).expect("JSON");
    let served = stack.control.api.client().get(format!("{}/openapi.json", stack.control.plane.url()));
    let served: serde_json::Value = served.send().await.expect("an answer").json().await.expect("JSON");
    assert_eq!(printed["paths"], served["paths"]);
    stack.finish().await;
}

#[tokio::test]
async fn private_listeners_tell_operators_and_nobody_else() {
    let stack = Stack::start().await;
    let get = async |url: String| stack.control.api.client().get(url).send().await.expect("an answer");
    for plane in stack.edge_planes.iter().chain([&stack.control.plane]) {
        for path in ["/livez", "/readyz", "/metrics"] {
            assert_eq!(get(format!("{}{path}", plane.ops_url())).await.status(), 200, "{path}");
            assert_ne!(get(format!("{}{path}", plane.url())).await.status(), 200, "{path} is public");
        }
        let metrics = get(format!("{}/metrics", plane.ops_url())).await.text().await.expect("text");
        assert!(metrics.lines().any(|line| line.starts_with("# TYPE ")), "{metrics}");
    }
    stack.finish().await;
}

/// Tells a program twice; how it ended.
async fn told_twice(plane: &mut Plane, signals: [Signal; 2], says: &str) -> ExitStatus {
    let log = plane.process().log().to_owned();
    plane.process().signal_leader(signals[0]);
    eventually!(fs::read_to_string(&log).expect("a log"), |log| log.contains(says));
    assert_eq!(plane.process().ended(), None, "it waits for what is open");
    plane.process().signal_leader(signals[1]);
    let ended = tokio::time::timeout(eventually::DEADLINE, plane.process_mut().wait()).await;
    ended.unwrap_or_else(|_| panic!("it still runs\n{}", plane.process().quote()))
}

#[tokio::test]
async fn a_second_signal_ends_either_program_at_once_and_it_says_that_something_was_open() {
    let mut stack = Stack::plan().edge_env("DRAIN_SECONDS", "600").start().await;
    let token = stack.control.user("alice").with_credits(100).await.buys(24).await;
    let mut ticks = stack.edge().with(&token, Method::GET, "/sse?every_ms=50").send().await.expect("a stream");
    assert!(ticks.chunk().await.expect("a tick").is_some());
    let ended = told_twice(&mut stack.edge_planes[0], [Signal::SIGTERM, Signal::SIGINT], "shutting down").await;
    assert_eq!(ended.code(), Some(1));

    let mut control = stack.second_control_plane().await;
    let mut wire = Wire::connect(control.url()).await.expect("a connection");
    let head = "POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                Content-Length: 10\r\nExpect: 100-continue\r\n\r\n";
    wire.send(head).await.expect("sent");
    assert_eq!(wire.answer().await.expect("it waits for the body").status, 100);
    let ended = told_twice(&mut control, [Signal::SIGINT, Signal::SIGTERM], "stopping").await;
    assert_eq!(ended.code(), Some(1));
    stack.finish().await;
}

//! That each call gives its script as many keys and arguments as the script reads.

use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::{
    redis::{Limited, events::Usage},
    token::{credential::Digest, device::Device, scope::Scope, state::Standing},
};

/// What a script reads `KEYS` or `ARGV` at: the highest number, and whether it walks the list
/// besides.
fn read(lua: &str, list: &str) -> (usize, bool) {
    let code: Vec<&str> = lua.lines().map(|line| line.split("--").next().unwrap_or_default()).collect();
    let code = code.join("\n");
    let opening = format!("{list}[");
    let places: Vec<_> = code.split(opening.as_str()).skip(1).filter_map(|rest| rest.split(']').next()).collect();
    let numbers: Vec<usize> = places.iter().filter_map(|place| place.parse().ok()).collect();
    let is_walked = numbers.len() < places.len() || code.matches(list).count() > places.len();
    (numbers.into_iter().max().unwrap_or(0), is_walked)
}

fn sizes(call: &impl Call) -> (usize, usize) {
    (call.keys().len(), call.args().len())
}

fn leases() -> LeasePolicy {
    LeasePolicy { lasts: Duration::from_secs(300), is_per_device: true }
}

fn admit(mode: Mode<'_>) -> (usize, usize) {
    sizes(&Admit { token_id: Uuid::nil(), generation: 1, leases: leases(), mode, build: "" })
}

/// Each script, and how many keys and arguments its calls give it.
fn calls() -> Vec<(Script, (usize, usize))> {
    let (token_id, session_id, device) = (Uuid::nil(), Uuid::nil(), &Device::known("a device"));
    let (credential, leases) = (&Digest::of(b"a"), leases());
    let taking = Taking { device, scopes: &[Scope::Full], networks: "", session_id, claim: Uuid::nil() };
    let renewal = Renewal { device, session_id, started_at_ms: 1, claim: None, cut_generation: 0, has_reached: false };
    let activate = Activate {
        token_id,
        generation: 1,
        leases,
        device: None,
        session_id: None,
        used_at_ms: None,
        traceparent: None,
    };
    let end_admission = EndAdmission {
        token_id,
        leases,
        device,
        session_id,
        claim: None,
        is_fault: false,
        lease: LeaseOutcome::Undecided,
    };
    let report = &Usage::Unknown;
    let take_over =
        TakeOver { token_id, generation: 1, leases, device, session_id, networks: "", report, traceparent: None };
    let finish = FinishRebuild { build: Uuid::nil(), epoch: 1, run_id: "", holds_tokens: true };
    let spend = Spend { limited: Limited::Token(token_id), cost: Duration::ZERO, most: None };
    let replacement = Replacement { of: *credential, read: None, new: None, kept_for: Duration::ZERO };
    vec![
        (Script::Find, sizes(&Find { credential })),
        (Script::Admit, admit(Mode::Look)),
        (Script::Admit, admit(Mode::Take(taking))),
        (Script::Admit, admit(Mode::Renew(renewal))),
        (Script::EndAdmission, sizes(&end_admission)),
        (Script::Activate, sizes(&activate)),
        (Script::Release, sizes(&Release { token_id, leases, device })),
        (Script::TakeOver, sizes(&take_over)),
        (Script::Bar, sizes(&Bar { token_id, version: 1 })),
        (Script::Put, sizes(&Put { epoch: 1, tokens: &[token()] })),
        (Script::PutCredentials, sizes(&PutCredentials { credentials: &[] })),
        (Script::Pulse, sizes(&Pulse)),
        (Script::BeginRebuild, sizes(&BeginRebuild { build: Uuid::nil() })),
        (Script::FinishRebuild, sizes(&finish)),
        (Script::Spend, sizes(&spend)),
        (Script::ReportUsage, sizes(&ReportUsage { events: &[] })),
        (Script::PublishKeys, sizes(&PublishKeys { keys: &[] })),
        (Script::EndAcmeTurn, sizes(&EndAcmeTurn { turn: Uuid::nil() })),
        (Script::ReadAttempts, sizes(&ReadAttempts { of: &[] })),
        (Script::ReplaceAttempts, sizes(&ReplaceAttempts { replacements: &[replacement] })),
    ]
}

fn token() -> TokenState<'static> {
    TokenState {
        token_id: Uuid::nil(),
        version: 3,
        user_id: Uuid::nil(),
        duration_ms: 3_600_000,
        standing: Standing::Live,
        credential_gen: 1,
        activated_at_ms: Some(17),
        scope: "full",
        is_refund_pending: false,
        networks: String::new(),
        lease: None,
        cut: None,
    }
}

/// Whether a call gives what its script reads.
fn fits(lua: &str, (keys, args): (usize, usize)) -> bool {
    [("KEYS", keys), ("ARGV", args)].into_iter().all(|(list, given)| {
        let (highest, is_walked) = read(lua, list);
        given == highest || is_walked && given > highest
    })
}

#[test]
fn each_script_gets_as_many_keys_and_arguments_as_it_reads() {
    for (script, given) in calls() {
        assert!(fits(script.lua(), given), "{script:?} gets {given:?}");
    }
    for script in Script::ALL {
        assert!(calls().iter().any(|(called, _)| called == script), "no call of {script:?} is checked");
    }
    let lua = "redis.call('GET', KEYS[1]) -- ARGV[9]\nreturn ARGV[2]";
    assert!(fits(lua, (1, 2)));
    for given in [(0, 2), (2, 2), (1, 1), (1, 3)] {
        assert!(!fits(lua, given), "{given:?}");
    }
    assert!(fits("for i = 2, #ARGV do call(ARGV[1], ARGV[i]) end", (0, 3)));
}

#[test]
fn what_most_tokens_lack_is_left_out_of_their_state() {
    let state = |token| Put { epoch: 1, tokens: &[token] }.args().split_off(2);
    assert_eq!(state(token()), [format!("3|{}|3600000|live|1|17|full", Uuid::nil()), String::new()]);
    let cut = CutState { generation: "2".into(), code: "4008".into(), device: "", device_lease: "a".into() };
    let token = TokenState { activated_at_ms: None, networks: "n".into(), cut: Some(cut), ..token() };
    let cut = r#"{"gen":"2","code":"4008","device":"","device_lease":"a"}"#;
    let rest = format!(r#"{{"is_refund_pending":false,"networks":"n","cut":{cut}}}"#);
    assert_eq!(state(token), [format!("3|{}|3600000|live|1||full", Uuid::nil()), rest]);
}

#[test]
fn what_redis_knew_better_names_its_token() {
    let tokens = [TokenState { token_id: Uuid::max(), ..token() }];
    let put = Put { epoch: 1, tokens: &tokens };
    assert_eq!(put.learned(&[]), Ok(Vec::new()));
    assert_eq!(put.learned(&[1, 17]), Ok(vec![(Uuid::max(), 17)]));
    for reply in [&[2, 17][..], &[0, 17], &[1]] {
        assert!(put.learned(reply).is_err(), "{reply:?}");
    }
}

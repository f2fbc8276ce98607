//! Keeps `.env.example` in step with the programs: it repeats what they say of themselves by
//! `--help`.

use std::{collections::VecDeque, fs, path::Path, process::Command};

use testbed::processes::process::built_program;

/// A variable as a program tells of it.
#[derive(Debug, PartialEq, Eq)]
struct Variable {
    name: String,
    meaning: String,
    /// Empty where there is none.
    default: String,
}

#[test]
fn the_example_repeats_the_meaning_and_the_default_of_every_variable() {
    let (control, edge) = (variables("control-api"), variables("edge-proxy"));
    assert!(control.len() > 5 && edge.len() > 5, "help is not read as it is written: {control:?} {edge:?}");
    for told in &edge {
        let otherwise = control.iter().find(|other| other.name == told.name && *other != told);
        assert!(otherwise.is_none(), "one variable, two meanings: {told:?} and {otherwise:?}");
    }
    let (both, control): (Vec<_>, Vec<_>) = control.into_iter().partition(|variable| edge.contains(variable));
    let edge = edge.into_iter().filter(|variable| !both.contains(variable)).collect();
    let sections = [("Both programs", both), ("control-api", control), ("edge-proxy", edge)];
    let expected: String = sections.iter().map(|(title, variables)| section(title, variables)).collect();

    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.env.example");
    let example = fs::read_to_string(file).expect("the example");
    let (_, example) = example.split_once("\n## ").expect("sections");
    let example: String = format!("\n## {example}").lines().map(|line| switched_on(line) + "\n").collect();
    assert!(example == expected, "the example differs from what the programs tell:\n{expected}");
}

/// A section of the example, every variable switched on.
fn section(title: &str, variables: &[Variable]) -> String {
    let entry = |variable: &Variable| format!("# {}\n{}={}\n", variable.meaning, variable.name, variable.default);
    format!("\n## {title}\n\n") + &variables.iter().map(entry).collect::<String>()
}

/// A line of the example as it is without the `#` that leaves a variable at its default.
fn switched_on(line: &str) -> String {
    let is_switched_off = |line: &&str| line.starts_with(|first: char| first.is_ascii_uppercase());
    line.strip_prefix('#').filter(is_switched_off).unwrap_or(line).to_owned()
}

/// The variables of a program and of every command below it.
fn variables(program: &str) -> Vec<Variable> {
    let mut told = Vec::new();
    let mut commands = VecDeque::from([Vec::new()]);
    while let Some(command) = commands.pop_front() {
        let help = help(program, &command);
        for variable in help.lines().filter_map(variable) {
            if !told.contains(&variable) {
                told.push(variable);
            }
        }
        let below = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
        for name in below.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help") {
            commands.push_back([&command[..], &[name.to_owned()]].concat());
        }
    }
    told
}

/// What `program command… -h` prints.
fn help(program: &str, command: &[String]) -> String {
    let path = built_program(program).expect("`cargo build --workspace` comes first");
    // Wide enough that no line is wrapped.
    let output = Command::new(path).args(command).arg("-h").env_clear().env("COLUMNS", "10000").output();
    let output = output.expect("the program starts");
    assert!(output.status.success(), "{program} {command:?} -h: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("help is UTF-8")
}

/// Reads `--name <NAME>  Meaning [env: NAME=] [default: value]`.
fn variable(line: &str) -> Option<Variable> {
    let (before, after) = line.split_once(" [env: ")?;
    let (name, _) = after.split_once(['=', ']'])?;
    let (_, meaning) = before.trim().split_once("  ")?;
    let default = after.split_once("[default: ").and_then(|(_, rest)| rest.split_once(']'));
    Some(Variable {
        name: name.to_owned(),
        meaning: meaning.trim().to_owned(),
        default: default.map(|(value, _)| value.to_owned()).unwrap_or_default(),
    })
}

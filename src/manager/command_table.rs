//! The built-in table of commands, held against what a server says of its own.

use std::collections::HashSet;

use crate::Manager;
use crate::dispatch::{Class, keys, read};

struct Known {
    name: String,
    arity: i64,
    flags: HashSet<String>,
    first_key: i64,
    last_key: i64,
    step: i64,
}

/// COMMAND, as far as it matters here: name, arity, flags and the first key.
fn commands_of_the_server() -> Vec<Known> {
    let keep = Manager::open("embedded://").unwrap();
    let table: Vec<redis::Value> = keep.command("COMMAND").unwrap();
    table
        .into_iter()
        .map(|row| {
            let redis::Value::Array(row) = row else {
                panic!("{row:?}");
            };
            let of = |i: usize| redis::from_redis_value::<i64>(row[i].clone()).unwrap();
            Known {
                name: redis::from_redis_value(row[0].clone()).unwrap(),
                arity: of(1),
                flags: redis::from_redis_value(row[2].clone()).unwrap(),
                first_key: of(3),
                last_key: of(4),
                step: of(5),
            }
        })
        .collect()
}

/// A call of the command with as many arguments as it must have, keys and others told apart.
fn least(command: &Known) -> Vec<Vec<u8>> {
    let count = command.arity.unsigned_abs().max(1) as usize;
    let mut args = vec![command.name.clone().into_bytes()];
    args.extend((1..count.max(8)).map(|i| format!("arg{i}").into_bytes()));
    args
}

fn all_keys(command: &Known, count: usize) -> Vec<usize> {
    let last = match command.last_key {
        ..0 => count as i64 + command.last_key,
        last => last,
    };
    (command.first_key..=last)
        .step_by(command.step.max(1) as usize)
        .map(|at| at as usize)
        .collect()
}

#[test]
fn the_table_agrees_with_the_server() {
    let mut compared = 0;
    for command in commands_of_the_server() {
        let owned = least(&command);
        let args: Vec<&[u8]> = owned.iter().map(Vec::as_slice).collect();
        let reading = read(&args);
        let name = &command.name;
        let has = |flag: &str| command.flags.contains(flag);
        // Nothing that writes may be taken for a read.
        if has("write") {
            assert_ne!(reading.class, Class::Read, "{name} writes");
        }
        if has("readonly") && !has("movablekeys") && reading.class != Class::Read {
            // Of XREAD it depends on BLOCK; nobody needs the others twice.
            let known = [
                "xread", "lolwut", "pubsub", "latency", "slowlog", "memory", "acl",
            ];
            assert!(known.contains(&name.as_str()), "{name} only reads");
        }
        // Nothing that blocks may pass for something that answers at once.
        if has("blocking") {
            assert!(crate::dispatch::blocks(name.as_bytes()), "{name} blocks");
        }
        // Subscribing and the like change the connection.
        if has("pubsub")
            && !has("movablekeys")
            && !["publish", "spublish", "pubsub"].contains(&name.as_str())
        {
            assert!(reading.stateful, "{name} changes its connection");
        }
        if let (Some(at), true) = (reading.key, command.first_key > 0) {
            assert_eq!(at as i64, command.first_key, "the first key of {name}");
            compared += 1;
            if !has("movablekeys") {
                assert_eq!(keys(&args), all_keys(&command, args.len()), "{name}");
            }
        } else if command.first_key > 0 && !has("movablekeys") {
            // The two are the server's own business.
            assert!(
                ["pfdebug", "restore-asking"].contains(&name.as_str()),
                "the key of {name}"
            );
        }
    }
    assert!(compared > 120, "only {compared} keys were compared");
}

//! Subscriptions while nodes take over from one another: they follow, and each renewal is told by one gap.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use redkeep::{Config, Event, Manager, Subscriber};
use support::{Cluster, PATIENCE, Sentinels, came_true, key_in, slot, wait_until};

/// A failover may take its time on a machine that is busy.
const LONG: Duration = Duration::from_secs(60);

fn open(url: String) -> Manager {
    Manager::open_config(&Config::new().url(url)).unwrap()
}

/// Publishes to all of these until each has had what was published, and counts their gaps on the way.
fn gaps(
    subscriber: &Subscriber,
    names: &[String],
    publish: impl Fn(&str),
) -> BTreeMap<String, usize> {
    let mut gaps = BTreeMap::new();
    let mut heard: Vec<String> = Vec::new();
    wait_until(LONG, || {
        names
            .iter()
            .filter(|name| !heard.contains(name))
            .for_each(|name| publish(name));
        while let Some(event) = subscriber.poll(Duration::from_millis(20)).unwrap() {
            match event {
                Event::Message(message) => {
                    let name = message.pattern().unwrap_or(message.channel()).into_owned();
                    // Behind the gap: what comes before it is of the time before the change.
                    if gaps.contains_key(&name) && !heard.contains(&name) {
                        heard.push(name);
                    }
                }
                Event::Gap(gap) => {
                    let name = gap.pattern().or(gap.channel()).unwrap();
                    *gaps.entry(name.into_owned()).or_default() += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        heard.len() == names.len()
    });
    // None comes late.
    while let Some(event) = subscriber.poll(Duration::from_millis(200)).unwrap() {
        if let Event::Gap(gap) = event {
            let name = gap.pattern().or(gap.channel()).unwrap();
            *gaps.entry(name.into_owned()).or_default() += 1;
        }
    }
    gaps
}

fn one_each(names: &[String]) -> BTreeMap<String, usize> {
    names.iter().map(|name| (name.clone(), 1)).collect()
}

/// Everything that was published comes.
fn hears(subscriber: &Subscriber, names: &[String], publish: impl Fn(&str)) -> bool {
    names.iter().all(|name| {
        publish(name);
        came_true(PATIENCE, || {
            let event = subscriber.poll(Duration::from_millis(20)).unwrap();
            matches!(event, Some(Event::Message(message))
                if message.pattern().unwrap_or(message.channel()) == name.as_str())
        })
    })
}

#[test]
fn sharded_channels_follow_their_slot_and_others_leave_a_node_that_is_gone() {
    let mut cluster = Cluster::start();
    let keep = open(cluster.url());
    let sharded = [key_in(0..5461, "sharded")];
    let subscriber = keep.subscriber();
    subscriber.add_sharded(&sharded[0]).unwrap();
    let publish = |name: &str| {
        let _ = keep.publish_sharded(name, "x");
    };
    assert!(hears(&subscriber, &sharded, publish));
    let mut at = 0;
    for to in [1, 2, 0] {
        cluster.move_slot(slot(&sharded[0]), at, to);
        at = to;
        assert_eq!(gaps(&subscriber, &sharded, publish), one_each(&sharded));
        let listening: (String, i64) =
            cluster.nodes[to].ask(&["PUBSUB", "SHARDNUMSUB", &sharded[0]]);
        assert_eq!(listening.1, 1);
    }

    // Channels and patterns are at any node of the cluster: the one that dies is known by who listens there.
    let plain = ["news".to_owned(), "n?ws".to_owned()];
    subscriber.add("news").unwrap();
    subscriber.add_pattern("n?ws").unwrap();
    let listens = |node: usize| {
        cluster.nodes[node].runs()
            && cluster.nodes[node]
                .ask::<(String, i64)>(&["PUBSUB", "NUMSUB", "news"])
                .1
                > 0
    };
    let host = (0..6).find(|node| listens(*node)).expect("one of them");
    assert_eq!(
        host, 0,
        "the first primary, which serves the sharded channel too"
    );
    cluster.nodes[0].kill();
    let all = [plain[0].clone(), plain[1].clone(), sharded[0].clone()];
    let publish = |name: &str| {
        let _ = match name == sharded[0] {
            true => keep.publish_sharded(name, "x"),
            false => keep.publish("news", "x"),
        };
    };
    assert_eq!(gaps(&subscriber, &all, publish), one_each(&all));
    assert_eq!(subscriber.stats().unwrap().subscriptions, 3);
    keep.close(Duration::from_secs(5)).unwrap();
    assert!(subscriber.poll(PATIENCE).is_err());
}

#[test]
fn handlers_are_told_of_a_move_and_go_on() {
    let cluster = Cluster::start();
    let keep = open(cluster.url());
    let name = key_in(0..5461, "handled");
    let (tell, told) = std::sync::mpsc::channel();
    let tell_gap = tell.clone();
    let subscriber = keep.subscriber();
    subscriber
        .on_message(move |message| tell.send(message.data().to_vec()))
        .unwrap();
    subscriber
        .on_gap(move |_| tell_gap.send(b"gap".to_vec()))
        .unwrap();
    subscriber.add_sharded(&name).unwrap();
    keep.publish_sharded(&name, "before").unwrap();
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), b"before");
    cluster.move_slot(slot(&name), 0, 1);
    assert_eq!(told.recv_timeout(LONG).unwrap(), b"gap");
    keep.publish_sharded(&name, "after").unwrap();
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), b"after");
    drop(subscriber);
    wait_until(PATIENCE, || {
        let listening: (String, i64) = cluster.nodes[1].ask(&["PUBSUB", "SHARDNUMSUB", &name]);
        listening.1 == 0
    });
}

#[test]
fn behind_sentinels_all_subscriptions_go_to_the_new_primary() {
    let mut all = Sentinels::start();
    let keep = open(all.url());
    let subscriber = keep.subscriber();
    subscriber.add("news").unwrap();
    subscriber.add_pattern("n?ws").unwrap();
    subscriber.add_sharded("sharded").unwrap();
    let names = ["news", "n?ws", "sharded"].map(str::to_owned);
    let publish = |name: &str| {
        let _ = match name {
            "sharded" => keep.publish_sharded(name, "x"),
            _ => keep.publish("news", "x"),
        };
    };
    assert!(hears(&subscriber, &names[..1], publish));
    let old = all.primary();
    all.nodes[old].kill();
    assert_eq!(gaps(&subscriber, &names, publish), one_each(&names));
    // The sentinel that is asked here may be the last to hear of it.
    wait_until(LONG, || all.primary() != old);
    let node = &all.nodes[all.primary()];
    assert_eq!(
        node.ask::<(String, i64)>(&["PUBSUB", "NUMSUB", "news"]).1,
        1
    );
    // A hand-over in good order, in which the old primary lives on. It may be one renewal or several: the old primary
    // may cut its clients before the sentinels' word comes, and sentinels may hand over once more.
    all.nodes[old].restart();
    all.settle();
    all.fail_over();
    let again = gaps(&subscriber, &names, publish);
    let mut counted = names.len() + again.values().sum::<usize>();
    all.settle();
    wait_until(LONG, || {
        // Each renewal is told of, and in the end they are at the primary and nowhere else.
        while let Some(event) = subscriber.poll(Duration::from_millis(20)).unwrap() {
            counted += usize::from(matches!(event, Event::Gap(_)));
        }
        let primary = all.primary();
        let listening =
            |node: &support::Server| node.ask::<(String, i64)>(&["PUBSUB", "NUMSUB", "news"]).1;
        let right = |(i, node)| listening(node) == i64::from(i == primary);
        all.nodes.iter().enumerate().all(right)
            && subscriber.stats().unwrap().gaps == counted as u64
    });
    assert!(hears(&subscriber, &names, publish));
}

use proptest::prelude::*;

use super::*;
use crate::selection::message::tests::Sample;

fn compile(text: &str) -> Result<Filter, FilterError> {
    Filter::compile(text, &["topic", "partition", "properties"])
}

fn holds(text: &str, message: &Sample) -> Option<bool> {
    let filter = compile(text).expect("the filter is well formed");
    filter.holds(&Record::new(message), "image.uploaded").ok()
}

/// The row's name is what fails, so it is the filter itself.
fn check(message: &Sample, rows: &[(&str, Option<bool>)]) {
    for (text, expected) in rows {
        assert_eq!(holds(text, message), *expected, "{text}");
    }
}

#[test]
fn a_filter_reads_what_a_message_has() {
    let message = Sample::default()
        .key("k1")
        .subject("a subject")
        .header("x", "first")
        .header("x", "last")
        .header("binary", b"\xff")
        .header("a-b", "1")
        .body(r#"{"n":1}"#)
        .time(1_700_000_000_000);
    check(
        &message,
        &[
            ("true", Some(true)),
            ("eventType == 'image.uploaded'", Some(true)),
            ("eventType.startsWith('image.')", Some(true)),
            ("subject == 'a subject'", Some(true)),
            ("key == 'k1' && size == 7", Some(true)),
            ("headers.x == 'last' && headers['a-b'] == '1'", Some(true)),
            ("has(headers.x) && 'x' in headers && !('X' in headers)", Some(true)),
            ("headers.y == ''", None),
            ("has(headers.y) && headers.y == 'last'", Some(false)),
            ("headers.binary == ''", None),
            ("has(headers.binary) || 'binary' in headers", Some(false)),
            ("size(headers) == 2 && headers == {'x': 'last', 'a-b': '1'}", Some(true)),
            ("headers.exists(name, headers[name] == 'last')", Some(true)),
            ("time > timestamp('2023-11-14T22:13:19Z') && time.getFullYear() == 2023", Some(true)),
            ("topic == 'uploads' && partition == 3", Some(true)),
            ("properties.count + 1 == 4 && properties.ratio * 2.0 == 3.0", Some(true)),
            ("properties.many == 18446744073709551615u && properties.urgent", Some(true)),
            ("properties.nothing == null && properties['name'] == 'a'", Some(true)),
            ("properties.at == timestamp('2023-11-14T22:13:20Z')", Some(true)),
            (
                "properties.takes == duration('1m30s') && properties.forever > duration('99h')",
                Some(true),
            ),
            ("has(properties.absent) || 'absent' in properties", Some(false)),
            ("properties.absent == 1", None),
            (".topic == 'uploads'", Some(true)),
        ],
    );
}

#[test]
fn what_a_message_lacks_is_empty_or_fails() {
    check(
        &Sample::default(),
        &[
            ("subject == '' && key == '' && size == 0 && size(headers) == 0", Some(true)),
            ("time > timestamp('2023-11-14T22:13:19Z')", None),
            ("has(body.a)", None),
            ("body == null", None),
            ("body.a == 1 || true", Some(true)),
        ],
    );
    check(
        &Sample::default().key(b"\xff").time(i64::MAX),
        &[
            ("key == ''", None),
            ("time > timestamp('2023-11-14T22:13:19Z')", None),
            ("key == '' || size == 0", Some(true)),
        ],
    );
}

#[test]
fn a_filter_reads_the_body() {
    let body = r#"{"type":"a","amount":101,"price":1.5,"big":18446744073709551615,"huge":1e400,"no":null,
        "text":"say \"hi\"","on":true,"tags":["x","y"],"lines":[{"sku":"s1","n":2},{"sku":"s2","n":3}],
        "a.b":{"c":[]},"deep":{"er":{"est":1}},"type":"b"}"#;
    check(
        &Sample::default().body(body),
        &[
            ("body.type == 'a' && body.amount > 100", Some(true)),
            ("body['type'] == 'a' && body['a.b'].c == []", Some(true)),
            (
                "body.amount + 1 == 102 && body.price * 2.0 == 3.0 && body.amount < 101.5",
                Some(true),
            ),
            ("body.big == 18446744073709551615u && type(body.big) == uint", Some(true)),
            ("body.huge > 1e300", Some(true)),
            ("body.no == null && body.on", Some(true)),
            ("body.text == 'say \"hi\"' && size(body.text) == 8", Some(true)),
            ("body.tags == ['x', 'y'] && ['x', 'y'] == body.tags && 'y' in body.tags", Some(true)),
            ("body.lines[1].sku == 's2' && body.lines[1] == {'sku': 's2', 'n': 3}", Some(true)),
            ("body.lines[2].sku == 's2'", None),
            ("body.lines[-1].sku == 's2'", None),
            ("body.lines[size(body.tags) - 1].n == 3", Some(true)),
            ("body.lines.exists(line, line.sku == 's2' && line.n > 2)", Some(true)),
            ("body.lines.all(line, line.n > 2)", Some(false)),
            ("body.lines.map(line, line.n) == [2, 3]", Some(true)),
            ("body.lines.filter(line, line.n > 2).size() == 1", Some(true)),
            ("body.lines.exists_one(line, line.n > 2)", Some(true)),
            ("body.exists(name, name == 'tags') && size(body) == 12", Some(true)),
            ("body.tags.exists(body, body == 'x')", Some(true)),
            ("body.tags.exists(body, .body.amount == 101)", Some(true)),
            (
                "has(body.type) && has(body.deep.er.est) && has(body.no) && !has(body.none)",
                Some(true),
            ),
            ("has(body.none.other)", None),
            ("has(body.amount.other)", None),
            ("body.none == 1", None),
            ("body.type.none == 1", None),
            ("body.?none.orValue(7) == 7 && body.?amount.orValue(7) == 101", Some(true)),
            ("body.deep.?none.?other.hasValue()", Some(false)),
            ("body.?deep.er.est.orValue(0) == 1 && body[?'deep'].hasValue()", Some(true)),
            ("body.text.matches('^say .hi.$') && matches(body.type, 'a|b')", Some(true)),
            ("body.type.matches('b')", Some(false)),
            (r"body.type.matches(r'^\w+$')", Some(true)),
            ("'ß'.matches(r'^\\W$')", Some(true)),
            ("body.amount.matches('1')", None),
            ("int(body.price) == 1 && string(body.amount) == '101' && dyn(body.on)", Some(true)),
            ("body.urgent || body.amount == body.name || true", Some(true)),
            ("type(body.amount) in [int, double] && (body.amount > 1 ? true : false)", Some(true)),
            (
                "optional.of(body.amount).value() == 101 && type(time) == google.protobuf.Timestamp || true",
                Some(true),
            ),
        ],
    );
}

#[test]
fn a_filter_reads_what_python_and_dotnet_write() {
    check(
        &Sample::default()
            .body("\u{feff}{\"n\":NaN,\"most\":Infinity,\"least\":-Infinity,\"a\":1}"),
        &[
            ("body.a == 1 && body.most > 1e300 && body.least < -1e300", Some(true)),
            ("body.n == body.n", Some(false)),
            ("body.n > 0.0", None),
            ("size(body) == 4", Some(true)),
        ],
    );
    let marked = |text: &str| Sample::default().body(format!("\u{feff}{text}"));
    check(&marked("[1, 2]"), &[("body[1] == 2 && body.all(x, x > 0)", Some(true))]);
    check(&marked("\"made\""), &[("body == 'made'", Some(true))]);
}

#[test]
fn strings_are_taken_apart_as_kubernetes_does_it() {
    let message = Sample::default()
        .header("types", "Shop.Placed; Shop.Event")
        .key(" Größe ")
        .body(r#"{"kind":"ORDER.Placed"}"#);
    check(
        &message,
        &[
            ("headers.types.split(';') == ['Shop.Placed', ' Shop.Event']", Some(true)),
            ("headers.types.split(';').exists(t, t.trim() == 'Shop.Event')", Some(true)),
            ("'Shop.Placed' in headers.types.split('; ')", Some(true)),
            ("headers.types.split(';', 1) == ['Shop.Placed; Shop.Event']", Some(true)),
            ("body.kind.lowerAscii() == 'order.placed'", Some(true)),
            ("key.trim().upperAscii() == 'GRößE'", Some(true)),
            ("key.trim().substring(1, 3) == 'rö' && key.charAt(1) == 'G'", Some(true)),
            ("key.substring(1, 99) == ''", None),
            ("body.?kind.orValue('').lowerAscii().startsWith('order.')", Some(true)),
        ],
    );
}

#[test]
fn taking_strings_apart_costs_what_it_takes() {
    let message = Sample::default().body(format!(r#"{{"s":"{}"}}"#, "x;".repeat(40 << 10)));
    check(
        &message,
        &[
            ("size(body.s.split(';')) == 40961", Some(true)),
            ("body.s.split(';').all(x, size(x) < 2)", Some(true)),
            ("size(body.s.split(';') + body.s.split(';')) > 1", None),
            ("body.s.lowerAscii().upperAscii().trim().split(';').size() > 1", Some(true)),
            (&format!("size(body.s{}) > 1", ".trim()".repeat(50)), None),
        ],
    );
}

#[test]
fn what_is_no_boolean_is_no_answer() {
    let message = Sample::default().body("1");
    check(&message, &[("body", None), ("body + body", None), ("1 / 0 == 1", None)]);
}

#[test]
fn a_filter_that_is_not_one_is_refused() {
    let deep_sum = format!("{}1 == 1", "1 + ".repeat(70));
    let deep_brackets = format!("{}true{}", "(".repeat(40), ")".repeat(40));
    let long = " ".repeat(5000);
    let patterns = vec![r"key.matches(r'\pL{3}')"; 100].join("||");
    let rows = [
        ("", "not a CEL expression at line 1, column 1: mismatched input 'the end'"),
        ("body.amount >", "not a CEL expression at line 1, column 14: mismatched input 'the end'"),
        ("size > 1 and true", "and at line 1, column 10 is not CEL; give &&"),
        ("body.amount = 1", "= at line 1, column 13 is not CEL; give =="),
        (
            "body.items[*].a == 1",
            "[*] at line 1, column 11 is not CEL; give exists, as in body.items.exists(item, item.kind == 'a'), or one element as [0]",
        ),
        (
            "body.a?.b == 1",
            "?. at line 1, column 7 is not CEL; give has(body.a) && body.a == 1, or body.?a.orValue(0)",
        ),
        (
            "headers.x-region == 'eu'",
            "\"region\" at line 1, column 11 is not a variable; give headers['x-region']",
        ),
        (
            "type == 'order.placed'",
            "\"type\" at line 1, column 1 is not a variable; give eventType, subject, key, headers, body, time, size, topic, partition, properties",
        ),
        (
            "map.a == 1",
            "\"map\" at line 1, column 1 is not a variable; give eventType, subject, key, headers, body, time, size, topic, partition, properties",
        ),
        (
            "type(body.a) == string && string == 'x'",
            "\"string\" at line 1, column 27 is not a variable; give eventType, subject, key, headers, body, time, size, topic, partition, properties",
        ),
        (
            "'a'",
            "gives a text at line 1, column 1, where true or false must come out; give a comparison, as in size > 100",
        ),
        (
            "1",
            "gives a number at line 1, column 1, where true or false must come out; give a comparison, as in size > 100",
        ),
        (
            "[true]",
            "gives a list at line 1, column 1, where true or false must come out; give a comparison, as in size > 100",
        ),
        (
            "size > 1 && eventType",
            "gives a text at line 1, column 13, where true or false must come out; give a comparison, as in size > 100",
        ),
        (
            "body.l.filter(x, x > 1)",
            "gives a list at line 1, column 14, where true or false must come out; give a comparison, as in size > 100",
        ),
        (
            "body.?a",
            "gives an optional value at line 1, column 5, where true or false must come out; give a default, as in body.?a.orValue(false)",
        ),
        (
            "!(headers.n == 5)",
            "compares a text with a number at line 1, column 13, which are never equal; give two of one kind",
        ),
        (
            "key == null",
            "compares a text with null at line 1, column 5, which are never equal; give two of one kind",
        ),
        (
            "true &&\n  body..x",
            "not a CEL expression at line 2, column 8: no viable alternative at input '..'",
        ),
        (
            "bdy.amount > 1",
            "\"bdy\" at line 1, column 1 is not a variable; give eventType, subject, key, headers, body, time, size, topic, partition, properties",
        ),
        (
            "'é' == key &&\n offset > 1",
            "\"offset\" at line 2, column 2 is not a variable; give eventType, subject, key, headers, body, time, size, topic, partition, properties",
        ),
        (
            "[1].all(x, y > 1)",
            "\"y\" at line 1, column 12 is not a variable; give eventType, subject, key, headers, body, time, size, topic, partition, properties",
        ),
        (
            "[x].all(x, x > 1)",
            "\"x\" at line 1, column 2 is not a variable; give eventType, subject, key, headers, body, time, size, topic, partition, properties",
        ),
        ("bigger(size)", "\"bigger\" at line 1, column 7 is not a function that filters have"),
        (
            "key.beginsWith('a')",
            "\"beginsWith\" at line 1, column 15 is not a function that filters have",
        ),
        ("body.list.all(x)", "\"all\" at line 1, column 14 is not a function that filters have"),
        ("'é' == key + 'ü' and", "and at line 1, column 18 is not CEL; give &&"),
        ("Made{a: 1} == 1", "\"Made\" at line 1, column 5 is not a type that can be made here"),
        (
            "key.matches('(')",
            "the pattern of matches at line 1, column 12 is not a regular expression: unclosed group",
        ),
        (
            "key.matches(subject)",
            "the pattern of matches at line 1, column 12 is not known beforehand; give one string literal",
        ),
        (
            "key.matches('(\\\\pL{99}){10}')",
            "the pattern of matches at line 1, column 12 takes more than 262144 bytes once compiled; give a shorter one",
        ),
        (
            "key.matches('(\\\\w{99}){99}')",
            "the pattern of matches at line 1, column 12 is not a regular expression: a repetition of more than 1000, or from more to less",
        ),
        (
            "key.replace('a', key) == ''",
            "\"replace\" at line 1, column 12 is not a function that filters have",
        ),
        (
            "key.indexOf(key) == 0",
            "\"indexOf\" at line 1, column 12 is not a function that filters have",
        ),
        (
            "['a'].join() == 'a'",
            "\"join\" at line 1, column 11 is not a function that filters have",
        ),
        (
            "body.s.matches('1[01]{900}[^01][01]{900}\\\\pL{900}')",
            "the pattern of matches at line 1, column 15 takes more than 262144 bytes once compiled; give a shorter one",
        ),
        (
            &patterns,
            "the pattern of matches at line 1, column 60 takes with those before it more than 262144 bytes once compiled; give fewer",
        ),
        (
            &deep_sum,
            "nests too deeply at line 1, column 23; give at most 32 levels of brackets and 64 operators in a row",
        ),
        (
            &deep_brackets,
            "nests too deeply at line 1, column 34; give at most 32 levels of brackets and 64 operators in a row",
        ),
        (&long, "5000 bytes are too long for a filter; give at most 4096"),
    ];
    for (text, expected) in rows {
        let error = compile(text).map(|_| ()).expect_err(text);
        assert_eq!(error.to_string(), expected, "{text}");
    }
}

#[test]
fn a_text_that_nests_without_end_fits_on_a_small_stack() {
    let patterns = [
        "(",
        "[",
        "{",
        "!",
        "-",
        "!-",
        "a{b:",
        "a[!(-{b:",
        "1+",
        "1 in ",
        "1==",
        "key||",
        "key&&",
        "1?2:",
        "1?",
        "[1].map(x,",
        "{1:",
        "[[1],",
        "key.?a.?b",
        ".",
        "'\"",
        "r'",
        "\0",
        "`",
        "é",
    ];
    let tails = [".b", "[0]", ".size()", ".map(x,x)", ".?b"];
    let texts =
        patterns.iter().map(|pattern| (*pattern, "1")).chain(tails.iter().map(|tail| ("", *tail)));
    let texts: Vec<String> = texts
        .map(|(pattern, tail)| match pattern {
            "" => format!("key{}", tail.repeat(4000 / tail.len())),
            pattern => format!("{}{tail}", pattern.repeat(4000 / pattern.len())),
        })
        .collect();
    // Of code that is not optimised: a level takes 31 KB, and 2 KB where it is.
    let stack = std::thread::Builder::new().stack_size(4 << 20);
    let compiled = stack.spawn(move || {
        let message =
            Sample::default().key("k").body(format!("{}1{}", "[".repeat(128), "]".repeat(128)));
        for text in texts {
            if let Ok(filter) = compile(&text) {
                let _verdict = filter.holds(&Record::new(&message), "made");
            }
        }
        check(
            &message,
            &[
                (&format!("{}1 == 61", "1 + ".repeat(60)), Some(true)),
                (&format!("{}true{}", "[".repeat(30), "][0]".repeat(30)), Some(true)),
                ("[body, body] == [body, body]", Some(true)),
            ],
        );
    });
    compiled.expect("a thread can be had").join().expect("every text is compiled or refused");
}

#[test]
fn an_evaluation_stops_where_it_would_cost_too_much() {
    let many =
        format!(r#"{{"l":[{0}1],"m":[{0}1],"s":"{1}"}}"#, "1,".repeat(10_000), "x".repeat(1 << 20));
    let message = Sample::default().body(&many);
    check(
        &message,
        &[
            ("size(body.l) == 10001", Some(true)),
            ("body.l.all(x, x == 1)", Some(true)),
            ("size(body.s) == 1048576", Some(true)),
            ("size(body) == 2", None),
            ("body.l.all(x, size(body.l) > 1)", None),
            ("size(body.s + body.s + body.s) > 1", None),
            (&format!("size(body.l.map(x, [{}])) > 1", "x, ".repeat(500)), None),
            ("body.l.all(x, body.m[9000] == 1)", None),
        ],
    );
}

#[test]
fn loops_stand_in_each_other_and_work_on_each_others_results() {
    let body = r#"{"orders":[{"id":1,"lines":[{"sku":"a","n":1},{"sku":"b","n":5}]},
        {"id":2,"lines":[]},{"id":3,"lines":[{"sku":"a","n":9}],"tags":["x","y"]}]}"#;
    check(
        &Sample::default().key("a").body(body),
        &[
            ("body.orders.exists(o, o.lines.exists(l, l.sku == 'a' && l.n > 5))", Some(true)),
            ("body.orders.exists(o, o.lines.exists(l, l.n > o.id + 6))", Some(false)),
            ("body.orders.all(o, o.lines.all(l, l.sku == key || l.n == 5))", Some(true)),
            ("body.orders.filter(o, size(o.lines) > 0).map(o, o.id) == [1, 3]", Some(true)),
            ("body.orders.map(o, o.lines.map(l, l.n)) == [[1, 5], [], [9]]", Some(true)),
            ("body.orders.map(o, size(o.lines) > 0, o.id).exists_one(id, id > 1)", Some(true)),
            ("body.orders.exists(o, o.?tags.orValue([]).exists(t, t == 'y'))", Some(true)),
            ("body.orders.exists(o, o.?tags[?1].orValue('') == 'y')", Some(true)),
            ("body.orders.all(x, x.lines.all(x, x.n > 0))", Some(true)),
            ("body.orders.all(o, body.orders.exists(p, p.id == o.id))", Some(true)),
            ("body.orders.all(body, .body.orders.exists(p, p.id == body.id))", Some(true)),
            ("body.orders.all(o, [[o]].all(l, l.all(m, m == o)))", Some(true)),
            ("body.orders.exists(o, o.tags.exists(t, t == 'z'))", None),
        ],
    );
}

#[test]
fn too_much_is_never_an_answer() {
    let message = Sample::default().key("k").body(format!(
        r#"{{"l":[{}1],"s":"{}"}}"#,
        "1,".repeat(999),
        "x".repeat(1 << 20)
    ));
    let too_much = "body.l.all(x, body.l.all(y, body.l.all(z, x + y + z == 3)))";
    let rows = [
        too_much.to_owned(),
        format!("{too_much} || true"),
        format!("{too_much} || key == 'k'"),
        format!("key == 'k' && !({too_much} && false)"),
        format!("{too_much} && false"),
        format!("body.l.exists(x, {too_much} || x == 1)"),
        format!("[1, 2].all(x, {too_much} && false)"),
        format!("body.?l[({too_much}) ? 1 : 0].orValue(1) == 1"),
        format!("optional.of(1).or(optional.of(({too_much}) ? 1 : 0)).value() == 1"),
        "size(body.s + body.s + body.s + body.s) > 1 || true".to_owned(),
    ];
    for text in rows {
        let filter = compile(&text).expect("the filter is well formed");
        let verdict = filter.holds(&Record::new(&message), "made");
        assert_eq!(verdict, Err(Reason::TooMuch), "{text}");
    }
    check(&message, &[(&format!("key == 'k' || {too_much}"), Some(true))]);
}

#[test]
fn a_look_up_of_a_header_pays_for_those_it_passes_over() {
    let mut message = Sample::default().body(format!("[{}1]", "1,".repeat(999)));
    message.headers = (0..3_000).map(|n| (n.to_string(), b"v".to_vec())).collect();
    check(
        &message,
        &[
            ("headers['2999'] == 'v' && !has(headers.none)", Some(true)),
            ("body.all(x, headers['2999'] == 'v')", None),
            ("body.all(x, x == 1 && !has(headers.none))", None),
        ],
    );
}

#[test]
fn headers_as_a_whole_have_what_each_has_on_its_own() {
    let message = Sample::default()
        .header("was-text", "x")
        .header("was-text", b"\xff")
        .header("is-text", b"\xff")
        .header("is-text", "x");
    check(
        &message,
        &[
            ("'was-text' in headers", Some(false)),
            ("headers.exists(name, name == 'was-text')", Some(false)),
            ("headers['was-text'] == 'x'", None),
            ("headers.exists(name, headers[name] == 'x')", Some(true)),
            ("'is-text' in headers && headers['is-text'] == 'x'", Some(true)),
            ("size(headers) == 1", Some(true)),
        ],
    );
}

#[test]
fn a_text_costs_as_often_as_it_is_gone_over() {
    let bits = |length: usize| "01".repeat(length / 2);
    let message = Sample::default().key(bits(4 << 10)).header("h", bits(16 << 10)).body(format!(
        r#"{{"s":"{}","l":["{}"],"m":[{}1]}}"#,
        bits(1 << 20),
        bits(16 << 10),
        "1,".repeat(20_000)
    ));
    let slow = "matches('1[01]{500}[^01]')";
    check(
        &message,
        &[
            ("body.s.matches('10')", Some(true)),
            (&format!("key.{slow}"), Some(false)),
            (&format!("'{}'.{slow}", bits(2000)), Some(false)),
            (&format!("body.s.{slow}"), None),
            (&format!("headers.h.{slow}"), None),
            (&format!("body.?s.orValue('').{slow}"), None),
            (&format!("(key == '' ? key : body.s).{slow}"), None),
            (&format!("(headers.h + key).{slow}"), None),
            (&format!("body.l[0].{slow}"), None),
            (&format!("body.l.exists(x, x.{slow})"), None),
            (&format!("[headers.h].exists(x, x.{slow})"), None),
            (&format!("[1].exists(x, headers.h.{slow})"), None),
            (&format!("[1, 2].exists(x, '{}'.{slow})", bits(2000)), Some(false)),
            (&format!("[1, 2, 3, 4, 5].exists(x, '{}'.{slow})", bits(2000)), None),
            ("size(body.m + [1]) == 20002", Some(true)),
            (&format!("size(body.m{}) > 1", " + [1]".repeat(60)), None),
            (&format!("size(body.s{}) > 1", " + 'x'".repeat(60)), None),
            (&format!("size(key{}) == 4156", " + 'x'".repeat(60)), Some(true)),
        ],
    );
}

#[test]
fn nesting_without_end_is_not_built() {
    let nested =
        |levels: usize| format!("{{\"a\":1,\"b\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    check(
        &Sample::default().body(nested(100)),
        &[("size(body.b) == 1 && body.a == 1", Some(true))],
    );
    check(
        &Sample::default().body(nested(100_000)),
        &[("size(body.b) == 1", None), ("body.a == 1", Some(true)), ("has(body.b)", Some(true))],
    );
}

/// Text that is CEL more often than chance would have it.
fn cel() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("body"),
        Just("body.a"),
        Just("headers"),
        Just("key"),
        Just("time"),
        Just("size"),
        Just("eventType"),
        Just("x"),
        Just("1"),
        Just("-9223372036854775808"),
        Just("9223372036854775807"),
        Just("0u"),
        Just("1e300"),
        Just("'a'"),
        Just("b'\\xff'"),
        Just("null"),
        Just("true"),
        Just("duration('2562047h')"),
        Just("timestamp('9999-12-31T23:59:59Z')"),
        Just("timestamp('0001-01-01T00:00:00Z')"),
        Just("[]"),
        Just("{}"),
        Just("optional.none()"),
        Just("int"),
        Just("0.0"),
    ];
    leaf.prop_map(str::to_owned).prop_recursive(5, 40, 3, |inner| {
        let operator = prop_oneof![
            Just("+"),
            Just("-"),
            Just("*"),
            Just("/"),
            Just("%"),
            Just("=="),
            Just("!="),
            Just("<"),
            Just(">="),
            Just("in"),
            Just("&&"),
            Just("||"),
        ];
        let unary = prop_oneof![Just("-"), Just("!")];
        let function = prop_oneof![
            Just("size"),
            Just("int"),
            Just("uint"),
            Just("double"),
            Just("string"),
            Just("bytes"),
            Just("bool"),
            Just("type"),
            Just("dyn"),
            Just("duration"),
            Just("timestamp"),
            Just("has"),
            Just("optional.of"),
            Just("optional.ofNonZeroValue"),
        ];
        let method = prop_oneof![
            Just("size"),
            Just("contains"),
            Just("startsWith"),
            Just("split"),
            Just("substring"),
            Just("charAt"),
            Just("endsWith"),
            Just("matches"),
            Just("orValue"),
            Just("value"),
            Just("hasValue"),
            Just("lowerAscii"),
            Just("trim"),
            Just("or"),
            Just("getFullYear"),
            Just("getHours"),
            Just("getDayOfYear"),
            Just("getMilliseconds"),
            Just("getDayOfWeek"),
            Just("getSeconds"),
        ];
        let a_loop = prop_oneof![
            Just("all"),
            Just("exists"),
            Just("exists_one"),
            Just("map"),
            Just("filter")
        ];
        prop_oneof![
            (inner.clone(), operator, inner.clone())
                .prop_map(|(a, op, b)| format!("({a} {op} {b})")),
            (unary, inner.clone()).prop_map(|(op, a)| format!("{op}{a}")),
            (function, inner.clone()).prop_map(|(f, a)| format!("{f}({a})")),
            (inner.clone(), method.clone(), inner.clone())
                .prop_map(|(a, f, b)| format!("{a}.{f}({b})")),
            (inner.clone(), method).prop_map(|(a, f)| format!("{a}.{f}()")),
            (inner.clone(), a_loop, inner.clone()).prop_map(|(a, f, b)| format!("{a}.{f}(x, {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a}[{b}]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("[{a}, {b}]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{{{a}: {b}}}")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("{a} ? {b} : {c}")),
            inner.prop_map(|a| format!("{a}.?b")),
        ]
    })
}

proptest! {
    #[test]
    fn any_text_is_compiled_or_refused(text in ".{0,60}|[a-z0-9 .,:?!&|=<>+*/%()\\[\\]{}'\"\\\\-]{0,60}") {
        let _compiled_or_refused = compile(&text);
    }

    #[test]
    fn whatever_compiles_can_be_evaluated(text in cel()) {
        let bodies = [None, Some(r#"{"a":[1,{"b":"x"},null,1e9]}"#), Some(r#"{"a":9223372036854775807}"#), Some("[[1]]")];
        if let Ok(filter) = compile(&text) {
            for body in bodies {
                let message = Sample { body: body.map(Into::into), time: Some(253_402_300_799_999), ..Sample::default() };
                let _verdict = filter.holds(&Record::new(&message.header("h", "v")), "made");
            }
        }
    }
}

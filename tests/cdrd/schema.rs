//! A small JSON Schema check: as much of it as `docs/status.schema.json` uses.

use serde_json::Value;

/// Fails the test unless `value` is what the schema says.
#[track_caller]
pub fn assert_fits(schema: &Value, value: &Value) {
    if let Err(why) = check(schema, schema, value, "$") {
        panic!("{why}\n{value:#}");
    }
}

fn check(schema: &Value, root: &Value, value: &Value, at: &str) -> Result<(), String> {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.strip_prefix("#/$defs/").expect("references are to $defs");
        return check(&root["$defs"][name], root, value, at);
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        let mut told = choices.iter().filter_map(|one| check(one, root, value, at).err());
        return match choices.iter().any(|one| check(one, root, value, at).is_ok()) {
            true => Ok(()),
            false => Err(told.next().unwrap_or_default()),
        };
    }
    let expected = schema.get("const").is_none_or(|expected| value == expected);
    let allowed = schema["enum"].as_array().is_none_or(|allowed| allowed.contains(value));
    if !expected || !allowed || !types(schema).iter().any(|name| is_of_type(value, name)) {
        return Err(format!("{at} is not as the schema says: {value}"));
    }
    let time = schema["format"] == "date-time";
    if let Some(text) = value.as_str().filter(|_| time) {
        text.parse::<jiff::Timestamp>().map_err(|e| format!("{at}: {e}"))?;
    }
    for (n, item) in value.as_array().into_iter().flatten().enumerate() {
        check(&schema["items"], root, item, &format!("{at}[{n}]"))?;
    }
    let Some(members) = value.as_object() else { return Ok(()) };
    for key in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !members.contains_key(key) {
            return Err(format!("{at} lacks {key}"));
        }
    }
    for (key, member) in members {
        let known = schema["properties"].get(key);
        let known = known.ok_or_else(|| format!("{at}.{key} is not in the schema"))?;
        check(known, root, member, &format!("{at}.{key}"))?;
    }
    Ok(())
}

fn types(schema: &Value) -> Vec<&str> {
    match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        single => single.as_str().into_iter().collect(),
    }
}

fn is_of_type(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("the schema has the type {other}"),
    }
}

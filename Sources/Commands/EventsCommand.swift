import JSON

/// `swiftlet events`.
func events(_ arguments: AppletArguments) throws(Failure) -> Int32 {
  let call = try LastingCall("Events", more: true, arguments.connect)
  while true {
    let event = try accepted(call.next())
    if arguments.isJSON {
      try say(json: event)
    } else if event["event"] != nil {
      try say(line(of: event))
    }
  }
}

/// An event on one line, with local time.
func line(of event: JSONValue) -> String {
  padded(timeText(event.number("time"), withMilliseconds: true), to: 31) + padded(event.text("event"), to: 13)
    + padded(event.text("name"), to: 20) + event.text("detail") + "\n"
}

import Control
import JSON
import Launch

/// Arguments of `swiftlet metrics`.
struct MetricsArguments: CommandArguments, ConnectsToDaemon {
  var socket: String?
  var isJSON = false
  var isPrometheus = false
  var isHTTP = false

  mutating func take(operands: [String]) throws(ArgumentError) {
    try NoArguments().take(operands: operands)
    if isPrometheus, isJSON { throw ArgumentError("--prometheus and --json exclude each other") }
    if isHTTP, !isPrometheus { throw ArgumentError("--http needs --prometheus") }
  }

  static var options: [Option<MetricsArguments>] {
    [
      Option("prometheus", help: "print them and the figures of each applet for Prometheus (text format 0.0.4)") {
        arguments, _ in
        arguments.isPrometheus = true
      },
      Option("http", help: "answer one HTTP request for /metrics, from standard input to standard output") {
        arguments, _ in
        arguments.isHTTP = true
      },
      socketOption(), jsonOption(),
    ]
  }
}

/// `swiftlet metrics`.
func metrics(_ arguments: MetricsArguments) throws(Failure) -> Int32 {
  if arguments.isHTTP {
    try serveRequest { () throws(Failure) in try exposition(arguments.connect()) }
  } else if arguments.isPrometheus {
    try say(exposition(arguments.connect()))
  } else {
    let reply = try arguments.connect().call("Metrics")
    if arguments.isJSON { try say(json: reply) } else { try say(figures(reply)) }
  }
  return ExitCode.success.rawValue
}

/// The counters, one on a line.
func figures(_ reply: JSONValue) -> String {
  guard case .object(let members) = reply else { return "" }
  return table(members.map { [$0.name.printable(), plain($0.value)] })
}

/// The daemon's counters and the figures of its applets in Prometheus' text format.
private func exposition(_ client: Client) throws(Failure) -> String {
  let counters = try client.call("Metrics")
  return exposition(counters: counters, applets: try listed(client, by: "Statistics"))
}

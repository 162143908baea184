import CLinux
import Platform

/// The beginning of an HTTP/1 request: its first line (RFC 9112, 3). Its other lines do not matter.
enum HTTPRequest: Equatable {
  /// More bytes are needed: the empty line that ends the request has not arrived.
  case incomplete
  /// Not a request that is understood.
  case invalid
  /// A request for a path, without what follows a question mark.
  case request(method: String, path: String)

  /// Maximum size of a request, in bytes.
  static let limit = 8192

  init(_ bytes: [UInt8]) {
    guard Self.isComplete(bytes) else {
      self = bytes.count < Self.limit ? .incomplete : .invalid
      return
    }
    // A line ends with CR LF, or LF alone (RFC 9112, 2.2).
    let line = bytes.prefix { $0 != 0x0a && $0 != 0x0d }
    let words = line.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
    guard words.count == 3, line.allSatisfy({ $0 >= 0x20 && $0 < 0x7f }), !words[0].isEmpty,
      words[1].first == UInt8(ascii: "/"), words[2].starts(with: "HTTP/1.".utf8), words[2].count == 8
    else {
      self = .invalid
      return
    }
    let path = words[1].prefix { $0 != UInt8(ascii: "?") }
    self = .request(method: String(decoding: words[0], as: UTF8.self), path: String(decoding: path, as: UTF8.self))
  }

  private static func isComplete(_ bytes: [UInt8]) -> Bool {
    var isEmptyLine = false
    for byte in bytes {
      switch byte {
      case 0x0a:
        if isEmptyLine { return true }
        isEmptyLine = true
      case 0x0d: continue
      default: isEmptyLine = false
      }
    }
    return false
  }
}

/// A response to one request, after which the connection ends.
struct HTTPResponse {
  let status: StaticString
  var type: StaticString = "text/plain; charset=utf-8"
  /// A further header line; nil for none.
  var header: StaticString?
  let body: String
  /// Whether only the head is sent, in response to HEAD.
  var isHead = false

  var bytes: [UInt8] {
    var head = "HTTP/1.1 \(status)\r\nContent-Type: \(type)\r\nContent-Length: \(body.utf8.count)\r\n"
    if let header { head += "\(header)\r\n" }
    return Array((head + "Connection: close\r\n\r\n" + (isHead ? "" : body)).utf8)
  }

  /// The response to a request.
  /// - Parameter metrics: makes the text for /metrics.
  init(to request: HTTPRequest, _ metrics: () throws(Failure) -> String) {
    switch request {
    case .incomplete: self.init(status: "408 Request Timeout", body: "no complete request came in time\n")
    case .invalid: self.init(status: "400 Bad Request", body: "this is not an HTTP/1 request for a path\n")
    case .request("GET", "/metrics"), .request("HEAD", "/metrics"):
      do {
        self.init(status: "200 OK", type: "text/plain; version=0.0.4; charset=utf-8", body: try metrics())
      } catch { self.init(status: "503 Service Unavailable", body: error.message + "\n") }
      if case .request("HEAD", _) = request { isHead = true }
    case .request("GET", _), .request("HEAD", _):
      self.init(status: "404 Not Found", body: "only /metrics is here\n")
      if case .request("HEAD", _) = request { isHead = true }
    case .request:
      self.init(status: "405 Method Not Allowed", header: "Allow: GET, HEAD", body: "only GET is allowed\n")
    }
  }

  private init(status: StaticString, type: StaticString? = nil, header: StaticString? = nil, body: String) {
    self.status = status
    if let type { self.type = type }
    self.header = header
    self.body = body
  }
}

/// Reads a request from standard input, and writes the response to standard output.
/// - Parameter metrics: makes the text for /metrics.
func serveRequest(_ metrics: () throws(Failure) -> String) throws(Failure) {
  var bytes: [UInt8] = []
  var request = HTTPRequest.incomplete
  let deadline = Clock.monotonic + 5_000_000_000
  while request == .incomplete, let more = receive(until: deadline) {
    bytes += more
    request = HTTPRequest(bytes)
  }
  try say(bytes: HTTPResponse(to: request, metrics).bytes)
  // A socket that is closed with unread bytes is reset, and its client might lose the response.
  linux_shutdown_write(STDOUT_FILENO)
  let end = Clock.monotonic + 1_000_000_000
  for _ in 0..<16 { if receive(until: end) == nil { break } }
}

/// Bytes from standard input; nil at its end, or when the time is over.
private func receive(until deadline: Int64) -> [UInt8]? {
  while true {
    let left = deadline - Clock.monotonic
    guard left > 0 else { return nil }
    var wanted = pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0)
    guard linux_ppoll(&wanted, 1, left) > 0 else { continue }
    var buffer = [UInt8](repeating: 0, count: 4096)
    let result = buffer.withUnsafeMutableBytes { linux_read(STDIN_FILENO, $0.baseAddress, $0.count) }
    if result == -Int(EINTR) || result == -Int(EAGAIN) { continue }
    guard result > 0 else { return nil }
    return Array(buffer[..<result])
  }
}

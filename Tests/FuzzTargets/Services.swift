import CLinux
import JSON
import Monitor
import Platform

@testable import Supervisor

extension FuzzTarget {
  /// Answers of a program that serves an applet's RPC calls.
  static let service = FuzzTarget(
    name: "service", input: "replies of RPC services",
    run: { bytes in
      var pair: [Int32] = [-1, -1]
      guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &pair) == 0 else { fatalError("no sockets") }
      let other = OwnedDescriptor(pair[1])
      // All of its data, followed by the end of the stream: no wait takes long.
      var rest = bytes[...]
      while !rest.isEmpty {
        let part = UnsafeRawBufferPointer(rebasing: rest)
        let result = linux_write(other.number, part.baseAddress, part.count)
        guard result > 0 else { break }
        rest = rest.dropFirst(result)
      }
      shutdown(other.number, Int32(SHUT_WR))
      let service = RemoteService("Thing", at: "here", OwnedDescriptor(pair[0])) { false }
      for _ in 0..<4 {
        do throws(RPCError) {
          let value = try service.call("Thing.Do", .string("x"))
          // It becomes the applet's response.
          hold(value.encoded != nil, "an answer can be handed on")
        } catch { hold(JSONValue.string(error.message).encoded != nil, "and so can a refusal") }
      }
    },
    seeds: {
      [
        #"{"id":1,"result":[1,2],"error":null}{"id":2,"result":null,"error":"no"}"#,
        #"{"id":7,"result":0}{"id":1,"result":"one"}{"error":{"a":[1.5]},"id":2}"#, "hello", "{]}", #"{"id":1}"#,
        #"{"id":1,"result":{"a":{"b":[true,null,"\u001b\ud83d\ude00"]}}} "#,
        String(repeating: #"{"a":"#, count: 40),
      ].map { Array($0.utf8) }
    })
}

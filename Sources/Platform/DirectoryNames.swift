import CLinux

private final class Names { var list: [String] = [] }

/// The names in a directory, in any order.
/// - Throws: the kernel's error.
package func directoryNames(_ path: String) throws(Errno) -> [String] {
  let names = Names()
  let context = Unmanaged.passUnretained(names)
  // The object outlives the call.
  let result = linux_readdir(
    path,
    { name, context in
      if let name, let context {
        Unmanaged<Names>.fromOpaque(context).takeUnretainedValue().list.append(String(cString: name))
      }
    }, context.toOpaque())
  _ = try checked(result)
  return names.list
}

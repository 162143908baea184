import Applet
import KVM
import Machine
import Monitor
import Platform

/// Runs ../applet-c/thermostat.c and answers two calls of its own: one for the temperature of a room, one for its heater.
@main
struct Main {
  static func main() {
    do throws(LoadError) {
      let context = try load("thermostat.elf")
      let room = Room()
      // The handler sees every call of the applet. What is not for it goes on to Swiftlet's own.
      context.handler = { (context) throws(ExecError) in
        switch context.a0 {
        case 0x200: context.ret(room.readTemperature())
        case 0x201:
          room.isHeaterOn = context.a1 == 1
          context.ret(Int64(0))
        default: try secureHandler(context)
        }
      }
      // One second of CPU time.
      context.cpuBudget = 1_000_000_000
      run(context)
    } catch {
      print("embed: \(error.description)")
    }
  }

  private static func run(_ context: ExecCtx) {
    do throws(ExecError) {
      switch try context.run() {
      case .exited(let status): print("embed: the applet exited with status \(status) after \(context.calls) calls")
      default: print("embed: the applet was stopped")
      }
    } catch {
      print("embed: \(error.description)")
    }
  }

  private static func load(_ path: String) throws(LoadError) -> ExecCtx {
    guard let architecture = Architecture.host else { fatalError("this machine is neither ARM64 nor RISC-V") }
    let kernel = LinuxKernel()
    let image: AppletImage
    do { image = try AppletImage(path: path, architecture: architecture, kernel: kernel) } catch { throw .image(error) }
    let system: System
    do { system = try System(kernel: kernel) } catch { throw .kvm(error) }
    return try ExecCtx(image: image, system: system, architecture: architecture)
  }
}

/// A room that its heater warms by 0.4 degrees between two readings, and that loses 0.2 without it.
final class Room {
  var isHeaterOn = false
  /// Hundredths of a degree Celsius.
  private var temperature: Int64 = 1990

  func readTemperature() -> Int64 {
    temperature += isHeaterOn ? 40 : -20
    print("embed: \(temperature / 100).\(temperature / 10 % 10) degrees, heater \(isHeaterOn ? "on" : "off")")
    return temperature
  }
}

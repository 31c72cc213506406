package aiomm.host;

import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.HashMap;
import java.util.Map;
import java.util.Set;
import mmcorej.CMMCore;
import org.micromanager.Studio;
import org.micromanager.acqj.internal.Engine;
import org.micromanager.magellan.api.MagellanAPI;
import org.micromanager.pyjavaz.ZMQServer;

/** Runs Micro-Manager's server and acquisition engine over a simulated core: Host --port N. Ends when its input does. */
public final class Host {
  private Host() {}

  public static void main(String[] args) throws Exception {
    if (args.length != 2 || !args[0].equals("--port")) {
      System.err.println("usage: Host --port N");
      System.exit(2);
    }
    int port = Integer.parseInt(args[1]);
    Thread guard = new Thread(Host::endWithInput, "ends with its input");
    guard.setDaemon(true);
    guard.start();
    InetAddress local = InetAddress.getByName("127.0.0.1");
    try (ServerSocket probe = new ServerSocket()) { // the server itself would swallow the error and never answer
      probe.setReuseAddress(true);
      probe.bind(new InetSocketAddress(local, port));
    } catch (IOException e) {
      System.out.println("ERROR port " + port + " is in use");
      System.out.flush();
      Runtime.getRuntime().halt(3);
    }
    CMMCore core = new CMMCore();
    new Engine(core);
    Desktop desktop = new Desktop();
    Map<Class<?>, Object> existing = new HashMap<>(
        Map.of(CMMCore.class, core, Studio.class, desktop, MagellanAPI.class, desktop));
    new ZMQServer(Set.of(Host.class.getClassLoader()), existing::get, new String[] {}, System.out::println, port);
    listening(local, port);
    System.out.println("DOOR " + Door.port());
    System.out.println("READY " + port);
    System.out.flush();
  }

  /** The server binds on a thread of its own, after it was constructed. */
  private static void listening(InetAddress local, int port) throws InterruptedException {
    while (true) {
      try (Socket ignored = new Socket(local, port)) {
        return;
      } catch (IOException e) {
        Thread.sleep(5);
      }
    }
  }

  private static void endWithInput() {
    try {
      while (System.in.read() >= 0) {
        // nothing is expected
      }
    } catch (IOException e) {
      // as good as its end
    }
    Runtime.getRuntime().halt(0);
  }
}

package aiomm.host;

import mmcorej.CMMCore;
import org.micromanager.Studio;
import org.micromanager.acqj.internal.Engine;
import org.micromanager.acqj.main.Acquisition;
import org.micromanager.magellan.api.MagellanAPI;
import org.micromanager.remote.JavaAcquisition;

/** What Micro-Manager's desktop would have: a Studio and Micro-Magellan. */
public final class Desktop implements Studio, MagellanAPI {
  @Override
  public CMMCore core() {
    return Engine.getCore();
  }

  @Override
  public CMMCore getCMMCore() {
    return Engine.getCore();
  }

  @Override
  public Acquisition createAcquisition(int settings, boolean showDisplay) {
    if (settings != 0) {
      throw new IndexOutOfBoundsException("There is no acquisition " + settings + ": only 0");
    }
    return new JavaAcquisition(3);
  }

  @Override
  public Acquisition createExploreAcquisition(boolean showDisplay) {
    return new JavaAcquisition(0);
  }
}

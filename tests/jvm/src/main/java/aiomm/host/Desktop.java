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
  public Acquisition createAcquisition(int index, boolean start) {
    if (index < 0 || index >= JavaAcquisition.COUNT) {
      throw new IndexOutOfBoundsException("There is no acquisition " + index + ": only " + JavaAcquisition.COUNT);
    }
    return made(new JavaAcquisition(index), start);
  }

  @Override
  public Acquisition createExploreAcquisition(boolean start) {
    return made(new JavaAcquisition(-1), start);
  }

  private static Acquisition made(Acquisition acquisition, boolean start) {
    if (start) {
      acquisition.start();
    }
    return acquisition;
  }
}

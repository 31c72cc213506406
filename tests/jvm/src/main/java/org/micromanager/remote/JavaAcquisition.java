package org.micromanager.remote;

import java.io.IOException;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.List;
import org.micromanager.acqj.main.Acquisition;
import org.micromanager.acqj.main.AcquisitionEvent;
import org.micromanager.ndtiffstorage.NDTiffAPI;

/** An acquisition whose events come from Java, as Micro-Magellan's do. It is in this package for the storage, which is not public. */
public final class JavaAcquisition extends Acquisition implements PycroManagerCompatibleAcq {
  private final int timePoints;

  public JavaAcquisition(int timePoints) {
    super(new RemoteViewerStorageAdapter(false, folder(), "magellan", false, 0, 0, null, 20));
    this.timePoints = timePoints;
  }

  private static String folder() {
    try {
      return Files.createTempDirectory("aiomm-magellan").toString();
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
  }

  @Override
  public void start() {
    super.start();
    List<AcquisitionEvent> events = new ArrayList<>();
    for (int t = 0; t < timePoints; t++) {
      AcquisitionEvent event = new AcquisitionEvent(this);
      event.setTimeIndex(t);
      events.add(event);
    }
    if (!events.isEmpty()) {
      events.add(AcquisitionEvent.createAcquisitionFinishedEvent(this));
      submitEventIterator(events.iterator());
    }
  }

  @Override
  public NDTiffAPI getStorage() {
    return ((RemoteViewerStorageAdapter) getDataSink()).getStorage();
  }

  @Override
  public int getEventPort() {
    return -1;
  }
}

package org.micromanager.remote;

import java.io.IOException;
import java.lang.reflect.Field;
import java.lang.reflect.Proxy;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import mmcorej.org.json.JSONObject;
import org.micromanager.acqj.internal.Engine;
import org.micromanager.acqj.main.Acquisition;
import org.micromanager.acqj.main.AcquisitionEvent;
import org.micromanager.ndtiffstorage.NDTiffAPI;
import org.micromanager.ndviewer.api.NDViewerAPI;

/** An acquisition whose events come from Java, as Micro-Magellan's do. It is in this package for the storage, which is not public. */
public final class JavaAcquisition extends Acquisition implements PycroManagerCompatibleAcq {
  /** Those in the list: a sequence of three, three planes, late planes, one that a device refuses, and planes with SLM patterns. */
  public static final int COUNT = 5;

  private static volatile JavaAcquisition latest;
  private final int kind;

  /** The acquisition at this position, or -1: one to which explore() submits. */
  public JavaAcquisition(int kind) {
    super(new RemoteViewerStorageAdapter(false, folder(), "magellan", false, 0, 0, null, 20));
    this.kind = kind;
    latest = this;
    if (kind < 0) {
      show();
    }
  }

  /** What was made last. */
  public static JavaAcquisition latest() {
    return latest;
  }

  /** An explore acquisition has a viewer; there is no screen, so this one knows only how images are displayed, and its title. */
  private void show() {
    Object viewer = Proxy.newProxyInstance(NDViewerAPI.class.getClassLoader(), new Class<?>[] {NDViewerAPI.class},
        (self, method, args) -> {
          switch (method.getName()) {
            case "getDisplaySettingsJSON":
              return new JSONObject();
            case "hashCode":
              return System.identityHashCode(self);
            default:
              return null;
          }
        });
    try {
      Field field = RemoteViewerStorageAdapter.class.getDeclaredField("viewer_");
      field.setAccessible(true);
      field.set(getDataSink(), viewer);
    } catch (ReflectiveOperationException e) {
      throw new IllegalStateException(e);
    }
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
    if (kind < 0) {
      return;
    }
    List<AcquisitionEvent> events = new ArrayList<>();
    for (int i = 0; i < 3; i++) {
      AcquisitionEvent event = kind == 4 ? withPattern((byte) i) : new AcquisitionEvent(this);
      if (kind == 0) {
        event.setTimeIndex(i);
      } else {
        event.setZ(i, 10.0 * i);
        event.setTags(new HashMap<>(Map.of("plane", "number " + i)));
        if (kind == 2) {
          event.setMinimumStartTime(250L * i);
        } else if (kind == 3 && i == 1) {
          event.setProperty("No such device", "Gain", "2");
        }
      }
      events.add(event);
    }
    events.add(AcquisitionEvent.createAcquisitionFinishedEvent(this));
    submitEventIterator(events.iterator());
  }

  private AcquisitionEvent withPattern(byte grey) {
    try {
      byte[] pattern = new byte[(int) (Engine.getCore().getSLMWidth("SLM") * Engine.getCore().getSLMHeight("SLM"))];
      Arrays.fill(pattern, grey);
      return AcquisitionEvent.fromJSON(new JSONObject().put("axes", new JSONObject()).put("slm_pattern", pattern), this);
    } catch (Exception e) {
      throw new IllegalStateException(e);
    }
  }

  /** Acquire one tile more, as a click of the user's in the viewer of an explore acquisition does. */
  public void explore(int row, int column) {
    AcquisitionEvent event = new AcquisitionEvent(this);
    event.setAxisPosition("row", row);
    event.setAxisPosition("column", column);
    submitEventIterator(List.of(event).iterator());
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

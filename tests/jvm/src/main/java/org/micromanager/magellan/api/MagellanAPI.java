package org.micromanager.magellan.api;

import org.micromanager.acqj.main.Acquisition;

/** What the test host has of Micro-Magellan's interface, with the signatures of its own MagellanAPI. */
public interface MagellanAPI {
  /** The acquisition at this position in the list of the window; see JavaAcquisition for those that there are. */
  Acquisition createAcquisition(int index, boolean start);

  /** An acquisition to which the user submits tiles until it is aborted or finished. */
  Acquisition createExploreAcquisition(boolean start);
}

package org.micromanager.magellan.api;

import org.micromanager.acqj.main.Acquisition;

/** What the test host has of Micro-Magellan's interface. */
public interface MagellanAPI {
  /** The acquisition with these settings: 0 has three time points, no other exists. */
  Acquisition createAcquisition(int settings, boolean showDisplay);

  /** An acquisition to which nothing submits events until it is aborted or finished. */
  Acquisition createExploreAcquisition(boolean showDisplay);
}
